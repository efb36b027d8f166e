"""Finds the trained models that come with the project by their cards: :class:`ModelCard`, :func:`find_model`.

A model is two files in ``models/``: its weights, exported by ``tools/convert_checkpoint.py export``, and its
card, a YAML file of the model's name with the attributes of :class:`ModelCard`. Nothing else names it, so
adding a model is adding the two files. The folder belongs to a checkout; an installed package has none, and
reads the folder that the environment variable POSECORE_MODELS names.

``python -m posecore.models`` lists the models in a table, ``python -m posecore.models --check`` compares the
files with their cards as well.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from posecore.config.errors import UsageError
from posecore.config.repository import REPOSITORY
from posecore.config.yaml_text import load_yaml

SCHEME = "model://"
# Names another folder of models than that of the checkout.
FOLDER = "POSECORE_MODELS"

_COLUMNS = (
    "name",
    "method",
    "skeleton",
    "finds people",
    "trained on",
    "license of the data",
    "figures",
    "MB",
)


@dataclass(frozen=True)
class ModelCard:
    """The card of a trained model.

    Attributes:
        name: for ``MODEL.WEIGHTS model://NAME``; that of the card's file.
        file: the weights, a safetensors file beside the card.
        sha256: of that file, in hexadecimal digits.
        method: such as "FCPose".
        skeleton: its name, such as "lsp_14".
        finds_people: whether the model finds people by itself; one that does not needs their boxes.
        data: what it was trained on.
        data_license: terms of that data.
        license: terms of the weights.
        figures: what was measured, by the measure's name and data; percent where nothing else is said.
        command: that trained it.
        limits: what it is not good at, one sentence each.
        default: whether ``tools/predict.py`` takes this model where none is named; one model at most.
        folder: of the card.
    """

    name: str
    file: str
    sha256: str
    method: str
    skeleton: str
    finds_people: bool
    data: str
    data_license: str
    license: str
    figures: Mapping[str, float]
    command: str
    limits: tuple[str, ...]
    folder: Path
    default: bool = False

    @property
    def path(self) -> Path:
        """The place of the weights."""
        return self.folder / self.file

    def checked_file(self) -> Path:
        """The place of the weights, after a check that they are those of the card.

        Raises:
            UsageError: the file is missing, or its SHA-256 is not that of the card.
        """
        if not self.path.is_file():
            raise UsageError(f"model {self.name}: {self.path} does not exist, which its card names")
        found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise UsageError(
                f"model {self.name}: {self.path} is not the file of its card, or is damaged: its SHA-256 is "
                f"{found}, and must be {self.sha256}"
            )
        return self.path

    def summary(self) -> str:
        """The name, the method, the data and its license in one line."""
        return (
            f"{self.name} ({self.method}, trained on {self.data}; license of the data: {self.data_license})"
        )


def models_folder() -> Path | None:
    """The folder of the models: POSECORE_MODELS, else that of the checkout; None in an installed package."""
    if named := os.environ.get(FOLDER):
        return Path(named)
    return REPOSITORY / "models" if (REPOSITORY / "pyproject.toml").is_file() else None


def list_models(folder: Path | None = None) -> list[ModelCard]:
    """The cards of all models, sorted by name.

    Args:
        folder: of the models; None for :func:`models_folder`.

    Raises:
        UsageError: a card is not valid, or several models are the default; the message names the file.
    """
    folder = folder or models_folder()
    files = sorted(folder.glob("*.yaml")) if folder else []
    cards = [_read_card(file) for file in files]
    if len(defaults := [card.name for card in cards if card.default]) > 1:
        raise UsageError(f"{folder}: one model can be the default, not {', '.join(defaults)}")
    return cards


def find_model(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        UsageError: there is no such model, or a card is not valid.
    """
    cards = list_models()
    for card in cards:
        if card.name == name:
            return card
    names = ", ".join(card.name for card in cards)
    raise UsageError(f"no model is called {name!r}: {f'there are {names}' if cards else _no_models()}")


def default_model() -> ModelCard:
    """The card of the model that is taken where none is named.

    Raises:
        UsageError: there is none, or a card is not valid.
    """
    for card in list_models():
        if card.default:
            return card
    raise UsageError(
        f"no model is named, and none comes with the project ({_no_models()}): give --config-file and "
        "MODEL.WEIGHTS, or MODEL.WEIGHTS of an exported model"
    )


def model_table(cards: Iterable[ModelCard]) -> str:
    """A table of models in Markdown, in columns of equal width."""
    rows = [_COLUMNS, *(_row(card) for card in cards)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in rows
    )


def _row(card: ModelCard) -> tuple[str, ...]:
    figures = ", ".join(f"{measure} {value}" for measure, value in card.figures.items())
    size = f"{card.path.stat().st_size / 1e6:.1f}" if card.path.is_file() else "missing"
    name = f"{card.name} (default)" if card.default else card.name
    finds = "yes" if card.finds_people else "no, needs boxes"
    return (name, card.method, card.skeleton, finds, card.data, card.data_license, figures, size)


def _no_models() -> str:
    folder = models_folder()
    if folder is None:
        return (
            f"models lie in a checkout of the project, or where {FOLDER} says, and not in installed packages"
        )
    return f"{folder} has no cards"


def _read_card(file: Path) -> ModelCard:
    try:
        content = load_yaml(file.read_text(encoding="utf-8"))
        return ModelCard(folder=file.parent, **_checked(content, file.stem))
    except ValueError as error:
        raise UsageError(f"model card {file}: {error}") from error


# What the values of a card must be; text where nothing else is said.
_KINDS = {"finds_people": bool, "default": bool, "figures": dict, "limits": list}
_NAMES = {bool: "true or false", dict: "a mapping", list: "a list of sentences", str: "text"}


def _checked(content: Any, name: str) -> dict[str, Any]:
    known = {field.name: field for field in fields(ModelCard) if field.name != "folder"}
    required = {key for key, field in known.items() if field.default is MISSING}
    if not isinstance(content, dict):
        raise ValueError(f"it must be a mapping with the keys {', '.join(sorted(required))}")
    if unknown := sorted(map(str, content.keys() - known.keys())):
        raise ValueError(f"unknown keys {unknown}; a card knows {sorted(known)}")
    if missing := sorted(required - content.keys()):
        raise ValueError(f"missing keys {missing}")
    for key, value in content.items():
        kind = _KINDS.get(key, str)
        if not isinstance(value, kind) or value in ("", {}):
            raise ValueError(f"{key} must be {_NAMES[kind]}, not {value!r}")
    if content["name"] != name:
        raise ValueError(f"name must be that of the file, {name}, not {content['name']}")
    if not content["file"].endswith(".safetensors") or Path(content["file"]).name != content["file"]:
        raise ValueError(f"file must name a .safetensors beside the card, not {content['file']!r}")
    if len(content["sha256"]) != 64 or set(content["sha256"]) - set("0123456789abcdef"):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, not {content['sha256']!r}")
    for measure, value in content["figures"].items():
        if not isinstance(measure, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"figures must map names of measures to numbers, not {measure!r} to {value!r}")
    if wrong := [limit for limit in content["limits"] if not isinstance(limit, str)]:
        raise ValueError(f"limits must be a list of sentences; {wrong[0]!r} is none")
    return {**content, "limits": tuple(content["limits"])}


def main() -> None:
    """Prints the table of the models, and checks their files with ``--check``."""
    parser = argparse.ArgumentParser(prog="python -m posecore.models", description="lists the trained models")
    parser.add_argument("--check", action="store_true", help="compare each file with the SHA-256 of its card")
    options = parser.parse_args()
    cards = list_models()
    print(model_table(cards) if cards else f"no models: {_no_models()}")
    if options.check:
        for card in cards:
            print(f"{card.checked_file()} is as its card says")


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(f"posecore.models: {error}")
