"""Divides the images of an import into train, val and test: :func:`split_images`.

Images that show nearly the same belong on one side of a split, because an image that resembles a training
image measures memory. So whole groups are divided: the frames of a video, the images of a folder, images that
resemble each other, or single images.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from posecore.config.errors import UsageError
from posecore.data.images import read_image
from posecore.data.importers.dataset import ImportedDataset, ImportedImage
from posecore.data.importers.image_sources import EmbeddedImage, VideoFrame, decode_embedded, read_frames
from posecore.data.near_duplicates import image_bits, near_duplicates

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
    for image, group in zip(dataset.images, GROUPS[by](dataset.images), strict=True):
        groups.setdefault(group, []).append(image)
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


def _names(images: Sequence[ImportedImage]) -> list[str]:
    return [image.name for image in images]


def _videos(images: Sequence[ImportedImage]) -> list[str]:
    return [image.video or image.name for image in images]


def _folders(images: Sequence[ImportedImage]) -> list[str]:
    return [image.name.rpartition("/")[0] for image in images]


def _similar(images: Sequence[ImportedImage]) -> list[str]:
    """Groups of near duplicates (:mod:`posecore.data.near_duplicates`), and of the images of one video.

    Images of one single color, and those that are not found or cannot be read, are like no other.
    """
    kept, bits = [], []
    for place, pixels in _read_all(images):
        if (pixels != pixels[:1, :1]).any():
            kept.append(place)
            bits.append(image_bits(pixels))
    # The group of an image is the number of its first image.
    groups = np.arange(len(images))
    if kept:
        same = near_duplicates(np.array(bits))
        groups[kept] = np.array(kept)[np.unique(same, return_index=True)[1][same]]
    videos: dict[str, list[int]] = {}
    for place, image in enumerate(images):
        if image.video is not None:
            videos.setdefault(image.video, []).append(place)
    for places in videos.values():
        joined = np.unique(groups[places])
        groups[np.isin(groups, joined)] = joined[0]
    return [str(group) for group in groups]


def _read_all(images: Sequence[ImportedImage]) -> Iterator[tuple[int, np.ndarray]]:
    """The pixels of the images that can be read, with their places; of a video the first of its frames."""
    videos: set[Path] = set()
    for place, image in enumerate(tqdm(images, "comparing images", unit="image", leave=False, disable=None)):
        try:
            if isinstance(image.source, Path):
                yield place, read_image(image.source)
            elif isinstance(image.source, EmbeddedImage):
                yield place, decode_embedded(image.source)
            elif isinstance(image.source, VideoFrame) and image.source.video not in videos:
                videos.add(image.source.video)
                for _, pixels in read_frames(image.source.video, [image.source.index]):
                    yield place, pixels
        except (OSError, ValueError):
            continue


# What stays together -> the group of each image.
GROUPS: dict[str, Callable[[Sequence[ImportedImage]], list[str]]] = {
    "image": _names,
    "video": _videos,
    "folder": _folders,
    "similar": _similar,
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
