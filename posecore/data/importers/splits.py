"""Divides the images of an import into train, val and test: :func:`split_images`.

Images that show nearly the same belong on one side of a split, because an image that resembles a training
image measures memory. So whole groups are divided: the frames of a video, the images of a folder, or single
images.
"""

from collections.abc import Callable, Sequence

import numpy as np

from posecore.config.errors import UsageError
from posecore.data.importers.dataset import ImportedDataset, ImportedImage

NAMES = ("train", "val", "test")
# The names that other tools give their splits.
_SAME = {"valid": "val", "validation": "val", "training": "train", "testing": "test", "default": "train"}


def split_images(
    dataset: ImportedDataset, shares: Sequence[float] | None, by: str, seed: int
) -> dict[str, list[ImportedImage]]:
    """The images by split.

    Args:
        dataset: the import.
        shares: of train and val, or of train, val and test; None for the splits of the source, or all images
            in train where it has none.
        by: what stays together, a key of :data:`GROUPS`, or "auto": videos where there are any, else images.
        seed: of the order in which groups are divided.

    Raises:
        UsageError: the shares are no shares, or a split would be empty.
    """
    if shares is None:
        return _source_splits(dataset)
    _check_shares(shares)
    has_videos = any(image.video is not None for image in dataset.images)
    if by == "auto":
        by = "video" if has_videos else "image"
    groups: dict[str, list[ImportedImage]] = {}
    for image in dataset.images:
        groups.setdefault(GROUPS[by](image), []).append(image)
    if len(groups) >= len(shares):
        parts = _divide(list(groups.values()), shares, seed)
        dataset.notes.remark(f"split by {by}: {len(groups)} groups, each wholly in one split")
    else:
        parts = _stretches(list(dataset.images), shares)
        dataset.notes.remark(
            f"split by {by}: there are only {len(groups)} groups for {len(shares)} splits, so the images are "
            "cut into stretches in the order of the source; neighbors at a cut may resemble each other"
        )
    splits = dict(zip(NAMES, parts, strict=False))
    if empty := [name for name, images in splits.items() if not images]:
        raise UsageError(
            f"--split {' '.join(f'{share:g}' for share in shares)} leaves {', '.join(empty)} without images: "
            f"there are {len(dataset.images)} images in {len(groups)} groups (--split-by {by})"
        )
    return splits


def _folder(image: ImportedImage) -> str:
    return image.name.rpartition("/")[0]


# What stays together -> the group of an image.
GROUPS: dict[str, Callable[[ImportedImage], str]] = {
    "image": lambda image: image.name,
    "video": lambda image: image.video or image.name,
    "folder": _folder,
}


def _check_shares(shares: Sequence[float]) -> None:
    good = len(shares) in (2, 3) and all(0 < share < 1 for share in shares)
    if not good or abs(sum(shares) - 1) > 1e-6:
        raise UsageError(
            "--split must be two or three shares above 0 that add up to 1, of train, val and test, such as "
            f"0.8 0.2, not {' '.join(f'{share:g}' for share in shares)}"
        )


def _source_splits(dataset: ImportedDataset) -> dict[str, list[ImportedImage]]:
    splits: dict[str, list[ImportedImage]] = {}
    for image in dataset.images:
        name = (image.split or "train").lower()
        splits.setdefault(_SAME.get(name, name), []).append(image)
    if len(splits) == 1:
        dataset.notes.remark(
            f"all images are in {next(iter(splits))}: --split 0.8 0.2 sets a part apart, which evaluation "
            "needs"
        )
    order = {name: place for place, name in enumerate(NAMES)}
    return dict(sorted(splits.items(), key=lambda item: order.get(item[0], len(NAMES))))


def _divide(
    groups: list[list[ImportedImage]], shares: Sequence[float], seed: int
) -> list[list[ImportedImage]]:
    """Gives each group, the largest first, to the split that lacks the most; every split gets one.

    The images of a split stay in the order of the source.
    """
    total = sum(map(len, groups))
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    order = sorted(shuffled.tolist(), key=lambda place: -len(groups[place]))
    lacking = [share * total for share in shares]
    members: list[list[int]] = [[] for _ in shares]
    for place in order:
        part = int(np.argmax(lacking))
        members[part].append(place)
        lacking[part] -= len(groups[place])
    for part, own in enumerate(members):
        if not own:
            # The split that has the most groups gives its smallest one.
            giver = max(range(len(members)), key=lambda index: len(members[index]))
            own.append(members[giver].pop())
            members[part] = own
    return [[image for place in sorted(own) for image in groups[place]] for own in members]


def _stretches(images: list[ImportedImage], shares: Sequence[float]) -> list[list[ImportedImage]]:
    ends = [round(len(images) * total) for total in np.cumsum(shares)]
    ends[-1] = len(images)
    return [images[start:end] for start, end in zip([0, *ends], ends, strict=False)]
