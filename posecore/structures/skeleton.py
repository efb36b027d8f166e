"""The keypoints of a person, :class:`Skeleton`: their names, left and right, limbs, evaluation constants.

All code that depends on K, the number of keypoints, takes it from the skeleton.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

from posecore.config.yaml_text import load_yaml

SHIPPED = Path(__file__).parent / "skeletons"

_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a person; checked when it is made.

    Attributes:
        name: for datasets and configurations.
        keypoints: K different names, in the order of the annotations.
        flip_pairs: (left, right) names that a flip of the image swaps, the person's own left first; a flip
            does not change other names. Names that differ only in left/right must be a pair.
        limbs: pairs of names that drawings connect.
        sigmas: K positive numbers, the keypoints' constants of COCO's object keypoint similarity.
        groups: the groups of keypoints that DirectPose predicts from one feature vector each; every keypoint
            is in one group. By default each keypoint is its own group.
        body_halves: the names of the "upper" and of the "lower" half; may be empty.

    Raises:
        ValueError: the attributes contradict each other; the message names them and says why.
    """

    name: str
    keypoints: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...]
    limbs: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...]
    groups: tuple[tuple[str, ...], ...] = ()
    body_halves: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.groups:
            object.__setattr__(self, "groups", tuple((name,) for name in self.keypoints))
        self._check_keypoints()
        self._check_flip_pairs()
        self._check_limbs()
        self._check_sigmas()
        self._check_groups()
        self._check_body_halves()

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoints)

    @cached_property
    def flip_indices(self) -> tuple[int, ...]:
        """(K,): the index of the keypoint that each becomes in a flipped image."""
        flip = dict(self.flip_pairs) | {right: left for left, right in self.flip_pairs}
        return self._indices(flip.get(name, name) for name in self.keypoints)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """(K,): "left", "right" or "middle" of the person, by the flip pairs."""
        side = {
            name: side for pair in self.flip_pairs for name, side in zip(pair, ("left", "right"), strict=True)
        }
        return tuple(side.get(name, "middle") for name in self.keypoints)

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of indices into the keypoints."""
        return tuple((self.keypoints.index(a), self.keypoints.index(b)) for a, b in self.limbs)

    @cached_property
    def group_indices(self) -> tuple[tuple[int, ...], ...]:
        """The groups as indices into the keypoints."""
        return tuple(self._indices(group) for group in self.groups)

    def _indices(self, names: Iterable[str]) -> tuple[int, ...]:
        position = {name: index for index, name in enumerate(self.keypoints)}
        return tuple(position[name] for name in names)

    def _check_keypoints(self) -> None:
        if not self.keypoints:
            raise self._error("it has no keypoints")
        if wrong := [name for name in self.keypoints if not isinstance(name, str) or not name]:
            raise self._error(f"keypoints must be non-empty strings (quote them), not {wrong}")
        if repeated := _repeated(self.keypoints):
            raise self._error(f"keypoints must differ; repeated: {repeated}")

    def _check_flip_pairs(self) -> None:
        self._check_pairs("flip_pairs", self.flip_pairs)
        if repeated := _repeated(name for pair in self.flip_pairs for name in pair):
            raise self._error(
                f"a keypoint can be in one flip pair only (two flips cancel); repeated: {repeated}"
            )
        for name in self.keypoints:
            for left, right in _SIDES:
                pair = (name, name.replace(left, right))
                if left in name and pair[1] in self.keypoints and pair not in self.flip_pairs:
                    raise self._error(f"flip_pairs must hold {list(pair)}, the left one first")

    def _check_limbs(self) -> None:
        self._check_pairs("limbs", self.limbs)
        if repeated := _repeated(tuple(sorted(pair)) for pair in self.limbs):
            raise self._error(f"limbs must differ; repeated: {repeated}")

    def _check_pairs(self, key: str, pairs: tuple[tuple[str, str], ...]) -> None:
        for pair in pairs:
            if len(pair) != 2 or pair[0] == pair[1]:
                raise self._error(f"each of {key} needs two different keypoints, not {list(pair)}")
            self._check_known(key, pair)

    def _check_known(self, key: str, names: Iterable[str]) -> None:
        if unknown := [name for name in names if name not in self.keypoints]:
            raise self._error(f"{key} names unknown keypoints: {unknown}")

    def _check_sigmas(self) -> None:
        if len(self.sigmas) != self.num_keypoints:
            raise self._error(
                f"sigmas needs a number for each of {self.num_keypoints} keypoints, not {len(self.sigmas)}"
            )
        for name, sigma in zip(self.keypoints, self.sigmas, strict=True):
            if isinstance(sigma, bool) or not isinstance(sigma, int | float):
                raise self._error(f"the sigma of '{name}' must be a number, not {sigma!r}")
            if not 0 < sigma <= sys.float_info.max:
                raise self._error(f"the sigma of '{name}' must be above 0 and finite, not {sigma}")

    def _check_groups(self) -> None:
        if not all(self.groups):
            raise self._error("groups must not be empty")
        grouped = [name for group in self.groups for name in group]
        self._check_known("groups", grouped)
        if repeated := _repeated(grouped):
            raise self._error(f"a keypoint can be in one group only; repeated: {repeated}")
        if missing := [name for name in self.keypoints if name not in grouped]:
            raise self._error(f"groups must cover every keypoint; missing: {missing}")

    def _check_body_halves(self) -> None:
        if self.body_halves and set(self.body_halves) != {"upper", "lower"}:
            raise self._error(
                f"body_halves needs 'upper' and 'lower', not {sorted(map(str, self.body_halves))}"
            )
        halves = [name for half in self.body_halves.values() for name in half]
        self._check_known("body_halves", halves)
        if repeated := _repeated(halves):
            raise self._error(f"a keypoint can be in one of the body_halves only; repeated: {repeated}")

    def _error(self, message: str) -> ValueError:
        return ValueError(f"skeleton '{self.name}': {message}")


def load_skeleton(name_or_path: str | Path) -> Skeleton:
    """Reads a built-in skeleton by its name, or any skeleton by the path of its YAML file (.yaml or .yml).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no built-in skeleton has this name, or the file is no valid skeleton; the message says
            which.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        shipped = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
        if name_or_path not in shipped:
            raise ValueError(
                f"no skeleton is called '{name_or_path}': give one of {shipped} or the path of a .yaml file"
            )
        path = SHIPPED / f"{name_or_path}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"skeleton file {path} does not exist")
    try:
        return _from_mapping(load_yaml(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _from_mapping(content: object) -> Skeleton:
    known = {item.name for item in fields(Skeleton)}
    required = known - {"groups", "body_halves"}
    if not isinstance(content, dict):
        raise ValueError(f"a skeleton file is a mapping with the keys {', '.join(sorted(required))}")
    if unknown := sorted(map(str, content.keys() - known)):
        raise ValueError(f"unknown keys {unknown}; a skeleton knows {sorted(known)}")
    if missing := sorted(required - content.keys()):
        raise ValueError(f"missing keys {missing}; lists may be empty ([]), keypoints and sigmas may not")
    if not isinstance(content["name"], str):
        raise ValueError(f"name must be a string, not {content['name']!r}")
    for key in known & content.keys() - {"name", "body_halves"}:
        if not isinstance(content[key], list):
            raise ValueError(f"{key} must be a list, not {content[key]!r}")
    for key in {"flip_pairs", "limbs", "groups"} & content.keys():
        if wrong := [item for item in content[key] if not isinstance(item, list)]:
            raise ValueError(f"{key} must be a list of lists of keypoints; not lists: {wrong}")
    halves = content.get("body_halves", {})
    if not isinstance(halves, dict) or not all(isinstance(names, list) for names in halves.values()):
        raise ValueError("body_halves must map 'upper' and 'lower' to lists of keypoints")
    return Skeleton(
        name=content["name"],
        keypoints=tuple(content["keypoints"]),
        flip_pairs=tuple(map(tuple, content["flip_pairs"])),
        limbs=tuple(map(tuple, content["limbs"])),
        sigmas=tuple(content["sigmas"]),
        groups=tuple(map(tuple, content.get("groups", ()))),
        body_halves={half: tuple(names) for half, names in halves.items()},
    )


def _repeated(items: Iterable) -> list:
    return [item for item, count in Counter(items).items() if count > 1]
