"""Reads and writes weights as safetensors, a format that can hold no code: :func:`read_safetensors`.

The files that :func:`write_safetensors` makes have one entry in their header, ``posecore``. It is JSON of a
:class:`ModelHeader`, which says what model the weights are of, and of a digest, which is checked on reading.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

ENDING = ".safetensors"
# The entry of the header. It is one only, because safetensors writes several in any order, and equal models
# should be equal files.
ENTRY = "posecore"


@dataclass(frozen=True)
class ModelHeader:
    """The description of a model in the file of its weights.

    Attributes:
        config: YAML of the configuration keys that prediction needs and that differ from the defaults.
        skeleton: YAML of the skeleton, as :func:`posecore.structures.skeleton.load_skeleton` reads it.
        versions: of posecore, torch and Detectron2 that wrote the file, by name.
    """

    config: str
    skeleton: str
    versions: Mapping[str, str]


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The weights of a file; floating-point numbers of 16 bits become float32.

    Raises:
        ValueError: the file is broken or no safetensors, or its weights are not those that were written.
        OSError: the file cannot be read.
    """
    try:
        with safe_open(file, framework="pt") as content:
            entry = (content.metadata() or {}).get(ENTRY)
            weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"it is broken, or no safetensors: {error}") from error
    written = _parsed(entry).get("digest") if entry is not None else None
    if written is not None and written != _digest(weights):
        raise ValueError("it is broken: its weights differ from those that were written")
    return {name: weight.float() if _is_half(weight) else weight for name, weight in weights.items()}


def read_header(file: Path) -> ModelHeader | None:
    """The description of the model whose weights a file holds; None where there is none.

    Raises:
        ValueError: the file is broken or no safetensors, or its description is.
        OSError: the file cannot be read.
    """
    try:
        with safe_open(file, framework="pt") as content:
            entry = (content.metadata() or {}).get(ENTRY)
    except SafetensorError as error:
        raise ValueError(f"it is broken, or no safetensors: {error}") from error
    if entry is None:
        return None
    parsed = _parsed(entry)
    config, skeleton, versions = (parsed.get(name) for name in ("config", "skeleton", "versions"))
    if not (isinstance(config, str) and isinstance(skeleton, str) and isinstance(versions, dict)):
        raise ValueError(f"its header entry {ENTRY} must have config, skeleton and versions")
    return ModelHeader(config, skeleton, versions)


def write_safetensors(weights: Mapping[str, Tensor], file: Path, header: ModelHeader) -> None:
    """Writes weights with the description of their model. Equal arguments make equal files.

    Args:
        weights: by name. Those that share memory are written once for each name.
        file: to be written.
        header: the description.

    Raises:
        OSError: the file cannot be written; a part of it may be there.
    """
    own = {name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)}
    entry = json.dumps({**asdict(header), "digest": _digest(own)}, sort_keys=True)
    file.write_bytes(save(own, metadata={ENTRY: entry}))


def _parsed(entry: str) -> dict:
    try:
        parsed = json.loads(entry)
    except ValueError as error:
        raise ValueError(f"its header entry {ENTRY} is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"its header entry {ENTRY} must be a JSON object")
    return parsed


def _digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and numbers, which the format itself has no check of."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].contiguous()
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_half(weight: Tensor) -> bool:
    return weight.is_floating_point() and weight.dtype.itemsize == 2
