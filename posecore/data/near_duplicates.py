"""Groups of images that show nearly the same, :func:`near_duplicates`, and splits that keep each group whole.

An image that resembles a training image measures memory: both belong on one side of a split.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

# The side of the grid of gray values that an image becomes; it gives SIDE * SIDE bits.
SIDE = 16
# The number of bits in which near duplicates differ at most. Far more would link all images of a plain sky.
MAX_DIFFERENCE = 32

# Rows of the table of all differences that are computed at a time.
_ROWS = 1024


def image_bits(image: np.ndarray) -> np.ndarray:
    """The difference hash of an image: whether each gray value is above its left neighbor's.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (SIDE * SIDE,) bool.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(gray, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return (small[:, 1:] > small[:, :-1]).ravel()


def near_duplicates(bits: np.ndarray, max_difference: int = MAX_DIFFERENCE) -> np.ndarray:
    """The groups of images that are linked by pairs of near duplicates.

    Args:
        bits: (N, B) bool, of :func:`image_bits`, N at least 1.
        max_difference: the number of bits in which the images of a pair differ at most.

    Returns:
        (N,): the number of each image's group, from 0.
    """
    signs = np.where(bits, 1, -1).astype(np.float32)
    rows, columns = [], []
    for start in range(0, len(signs), _ROWS):
        differences = (signs.shape[1] - signs[start : start + _ROWS] @ signs.T) / 2
        row, column = np.nonzero(differences <= max_difference)
        rows.append(row + start)
        columns.append(column)
    links = np.concatenate(rows), np.concatenate(columns)
    pairs = csr_matrix((np.ones(len(links[0])), links), shape=(len(signs), len(signs)))
    return connected_components(pairs, directed=False)[1]


def split_groups(groups: Sequence[int] | np.ndarray, count: int, seed: int) -> np.ndarray:
    """Chooses ``count`` images at random, whole groups only; one or a few less where no group fits.

    Args:
        groups: (N,), the number of each image's group, from 0.
        count: number of images.
        seed: of the order in which the groups are taken; a group that does not fit is passed over.

    Returns:
        (N,) bool: the chosen images.
    """
    sizes = np.bincount(groups)
    chosen = np.zeros(len(sizes), dtype=bool)
    left = count
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        if sizes[group] <= left:
            chosen[group] = True
            left -= sizes[group]
    return chosen[groups]
