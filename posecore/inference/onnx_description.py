"""Reads the description that lies beside an exported model: :class:`Description`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posecore.inference.onnx_inputs import CropInput, ImageInput
from posecore.structures.crops import CropGeometry

# The layout of the description; a reader refuses those that it does not know.
DESCRIPTION_VERSION = 1


@dataclass(frozen=True)
class Description:
    """What the file beside an exported model says, as far as a prediction needs it.

    Attributes:
        method: the name of the model's class.
        keypoints: K names, in the order of the predictions.
        limbs: pairs of indices that drawings connect.
        prepare: prepares images or crops.
        rest: the whole description.
    """

    method: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    prepare: ImageInput | CropInput
    rest: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path) -> "Description":
        """
        Raises:
            FileNotFoundError, ValueError: the description is missing or cannot be used; the message names it.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{file} is missing: tools/export.py writes this description beside the model, and both "
                "belong together"
            ) from error
        try:
            return cls.parse(json.loads(text))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{file} is no description of an exported model ({reason}): tools/export.py writes one"
            ) from error

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "Description":
        """
        Raises:
            ValueError, KeyError, TypeError: the content is no description.
        """
        if content["version"] != DESCRIPTION_VERSION:
            raise ValueError(
                f"its version is {content['version']!r}, and this posecore reads {DESCRIPTION_VERSION}"
            )
        if content["outputs"] != "poses":
            raise ValueError("the model was exported with --outputs raw, and a predictor needs poses")
        names = list(content["skeleton"]["keypoints"])
        node = dict(content["input"])
        kind = node.pop("kind")
        prepare: ImageInput | CropInput
        if kind == "images":
            prepare = ImageInput(**node)
        elif kind == "crops":
            geometry = CropGeometry(
                (int(node["size"][0]), int(node["size"][1])), node["padding"], node["first_pixel"]
            )
            sigmas = tuple(content["skeleton"]["sigmas"])
            prepare = CropInput(geometry, node["channels"], node["min_score"], sigmas, node["oks_nms_thresh"])
        else:
            raise ValueError(f"its kind of input must be 'images' or 'crops', not {kind!r}")
        limbs = tuple((names.index(a), names.index(b)) for a, b in content["skeleton"]["limbs"])
        return cls(content["method"], tuple(names), limbs, prepare, content)


def description_file(model: Path) -> Path:
    """The description of an exported model: its name with .json added."""
    return model.with_name(f"{model.name}.json")
