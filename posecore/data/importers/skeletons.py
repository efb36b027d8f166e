"""Completes the skeleton of a source: :func:`complete_skeleton` guesses flip pairs and finds sigmas.

A source seldom says which keypoints a flip swaps, and nearly never the constants of the keypoint similarity.
What is not known is guessed by rules that the summary of an import names.
"""

import re
from collections.abc import Sequence

import numpy as np

from posecore.data.importers.dataset import ImportedDataset, RepeatedLabels, SourceSkeleton
from posecore.data.importers.notes import WARNING, Notes
from posecore.structures.skeleton import SHIPPED, Skeleton, load_skeleton

# A keypoint's sigma is estimated from so many pairs of labels or more; from fewer it says too little.
MIN_PAIRS = 10
# Estimates stay within these; COCO's are from 0.025 to 0.107.
LEAST_SIGMA, GREATEST_SIGMA = 0.01, 0.2

_WORDS = {"left": "right", "l": "r", "right": "left", "r": "l"}
# Words of a name: "leftEye" -> left, Eye; "L_ear" -> L, ear; "HipR" -> Hip, R.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+")


def complete_skeleton(dataset: ImportedDataset, name: str) -> Skeleton:
    """The skeleton of an import, complete; what was guessed is added to its notes.

    Args:
        dataset: the import.
        name: of the skeleton.

    Raises:
        ValueError: the keypoints' names are no valid skeleton.
    """
    source, notes = dataset.skeleton, dataset.notes
    known = _shipped(source.keypoints)
    limbs = source.limbs or (known.limbs if known else ())
    return Skeleton(
        name=name,
        keypoints=source.keypoints,
        flip_pairs=_flip_pairs(source, notes),
        limbs=_different(limbs),
        sigmas=_sigmas(source, known, dataset.repeated, notes),
        groups=known.groups if known else (),
        body_halves=known.body_halves if known else {},
    )


def flipped_name(name: str, names: Sequence[str]) -> str | None:
    """The name among ``names`` that differs from a name in left and right alone; None where there is none.

    Words are compared: left and right in any case, and L and R as words of their own, as the first letters of
    a name (LHip) or as its last one (wing L).
    """
    candidates = []
    words = _WORD.findall(name)
    for place, word in enumerate(words):
        if other := _WORDS.get(word.lower()):
            swapped = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
            candidates.append("".join([*words[:place], swapped, *words[place + 1 :]]))
    for one, other in (("L", "R"), ("R", "L"), ("l", "r"), ("r", "l")):
        # LHip is one word of capital letters and another; lhip is none at all.
        if len(name) > 1 and name.startswith(one):
            candidates.append(other + name[1:])
        if len(name) > 1 and name.endswith(one) and one.isupper():
            candidates.append(name[:-1] + other)
    for one, other in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        candidates += [name.replace(one, other), name.replace(other, one)]
    return next((candidate for candidate in candidates if candidate != name and candidate in names), None)


def is_left(name: str, other: str) -> bool | None:
    """Whether the first of two names that differ in their side is the left one; None where none says so."""
    if flipped_name(name, [other]) is None:
        return None
    if len(name) == len(other):
        differing = {(a.lower(), b.lower()) for a, b in zip(name, other, strict=True) if a != b}
        if differing in ({("l", "r")}, {("r", "l")}):
            return differing == {("l", "r")}
    return name.lower().count("left") > other.lower().count("left")


def _flip_pairs(source: SourceSkeleton, notes: Notes) -> tuple[tuple[str, str], ...]:
    """The pairs of the source and of the names, the left keypoint first, in the order of the keypoints."""
    names = source.keypoints
    by_name = {}
    for name in names:
        other = flipped_name(name, names)
        if other is not None and flipped_name(other, names) == name:
            by_name[name] = other
    given: dict[str, str] = {}
    for a, b in source.flip_pairs or ():
        if by_name.get(a, b) == b and by_name.get(b, a) == a:
            given |= {a: b, b: a}
        else:
            notes.remark(
                f"the source swaps {a!r} and {b!r} in a flip, which contradicts the names: the names count"
            )
    partner = by_name | given
    pairs, unknown = [], []
    for name in names:
        other = partner.get(name)
        if other is None or names.index(other) < names.index(name):
            continue
        left = is_left(name, other)
        if left is None:
            unknown.append([name, other])
        pairs.append((other, name) if left is False else (name, other))
    if unknown:
        notes.remark(
            f"the first of each of these pairs is taken for the left one, since no name says so: {unknown}"
        )
    if not pairs:
        notes.remark(
            "no flip pairs: no names differ in left and right. A flip then swaps nothing; if the keypoints "
            "have sides, write flip_pairs into skeleton.yaml before you train"
        )
    elif source.flip_pairs is None:
        notes.remark(
            "the flip pairs are guessed from left and right in the names; skeleton.yaml has them to be "
            "changed"
        )
    return tuple(pairs)


def _shipped(keypoints: tuple[str, ...]) -> Skeleton | None:
    """The shipped skeleton of these keypoints, whose flips, limbs and sigmas are known."""
    for file in sorted(SHIPPED.glob("*.yaml")):
        skeleton = load_skeleton(file.stem)
        if skeleton.keypoints == keypoints:
            return skeleton
    return None


def default_sigma() -> float:
    """The mean of COCO's 17 sigmas, as a share of the square root of the area."""
    return round(float(np.mean(load_skeleton("coco_17").sigmas)), 3)


def _sigmas(
    source: SourceSkeleton, known: Skeleton | None, repeated: Sequence[RepeatedLabels], notes: Notes
) -> tuple[float, ...]:
    if source.sigmas is not None:
        notes.remark("the sigmas are those of the source")
        return source.sigmas
    if known is not None:
        notes.remark(
            f"the sigmas are those of the shipped skeleton {known.name}, which has the same keypoints"
        )
        return known.sigmas
    default = default_sigma()
    estimates = estimate_sigmas(repeated, len(source.keypoints))
    missing = [name for name, sigma in zip(source.keypoints, estimates, strict=True) if sigma is None]
    if len(missing) < len(estimates):
        notes.remark(f"sigmas are estimated from {len(repeated)} persons that were labeled twice")
    if missing:
        notes.remark(
            f"{WARNING}: the sigmas of {missing} are not known and set to {default}, the mean of COCO's, a "
            "share of the body's size (the root of its area): AP depends on them, so compare AP only with "
            "figures of the same sigmas; docs/data.md says how to measure them"
        )
    return tuple(default if sigma is None else sigma for sigma in estimates)


def estimate_sigmas(repeated: Sequence[RepeatedLabels], count: int) -> list[float | None]:
    """The root of the mean of d² / a over pairs of labels, where d is their distance and a the area.

    Args:
        repeated: persons that were labeled twice.
        count: K.

    Returns:
        K values; None for a keypoint with fewer than :data:`MIN_PAIRS` pairs.
    """
    squares: list[list[float]] = [[] for _ in range(count)]
    for pair in repeated:
        both = (pair.first[:, 2] > 0) & (pair.second[:, 2] > 0)
        distances = ((pair.first[:, :2] - pair.second[:, :2]) ** 2).sum(axis=1) / pair.area
        for index in np.flatnonzero(both):
            squares[index].append(float(distances[index]))
    return [
        round(float(np.clip(np.sqrt(np.mean(values)), LEAST_SIGMA, GREATEST_SIGMA)), 4)
        if len(values) >= MIN_PAIRS
        else None
        for values in squares
    ]


def _different(limbs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Limbs without those that occur twice, in whatever direction, or join a keypoint with itself."""
    kept: dict[tuple[str, ...], tuple[str, str]] = {}
    for a, b in limbs:
        if a != b:
            kept.setdefault(tuple(sorted((a, b))), (a, b))
    return tuple(kept.values())
