"""Images that a dataset shares with another one, such as another split: :func:`shared_images`.

A model that has learned an image is not tested by it. Images are compared by
:mod:`posecore.data.near_duplicates`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from posecore.data.images import read_image
from posecore.data.near_duplicates import image_bits, near_duplicates


@dataclass(frozen=True)
class SharedImage:
    """An image and the one of the other dataset that resembles it most.

    Attributes:
        file: path of the image.
        other: path of the image of the other dataset.
        difference: number of bits in which their hashes differ.
    """

    file: str
    other: str
    difference: int


def shared_images(files: Sequence[str], others: Sequence[str]) -> list[SharedImage]:
    """The images of a dataset that have a near duplicate in another one, the most similar first.

    On a terminal a line shows the progress, because all images are read. Images that cannot be read or have
    one single color are left out: the latter are all alike.

    Args:
        files: paths of the images of the dataset; all are read.
        others: paths of those of the other dataset.
    """
    own, own_bits = _hashes(files)
    their, their_bits = _hashes(others)
    if not own or not their:
        return []
    groups = near_duplicates(np.concatenate([own_bits, their_bits]))
    shared = []
    for group in np.intersect1d(groups[: len(own)], groups[len(own) :]):
        ours = np.flatnonzero(groups[: len(own)] == group)
        theirs = np.flatnonzero(groups[len(own) :] == group)
        for index in ours:
            differences = (own_bits[index] != their_bits[theirs]).sum(axis=1)
            nearest = int(differences.argmin())
            shared.append(SharedImage(own[index], their[theirs[nearest]], int(differences[nearest])))
    return sorted(shared, key=lambda image: image.difference)


def _hashes(files: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The files that can be compared, and their bits."""
    kept, bits = [], []
    # disable=None: nothing is shown where stderr is no terminal.
    for file in tqdm(files, desc="reading images", unit="image", leave=False, disable=None):
        try:
            image = read_image(file)
        except (OSError, ValueError):
            continue
        if (image != image[:1, :1]).any():
            kept.append(file)
            bits.append(image_bits(image))
    return kept, np.array(bits, dtype=bool)
