"""What every importer returns, :class:`ImportedDataset`: images and persons, whatever the tool was.

Coordinates are those of COCO's files: pixels, x to the right and y down. K is the number of keypoints.
"""

from dataclasses import dataclass

import numpy as np

from posecore.data.importers.image_sources import ImageSource
from posecore.data.importers.notes import Notes
from posecore.data.importers.values import Box


@dataclass(frozen=True)
class ImportedPerson:
    """A person of an image.

    Attributes:
        keypoints: (K, 3), x, y and v: 2 visible, 1 hidden, 0 not labeled (then x = y = 0).
        box: x, y, width and height as the tool has them; None where it has no box of this person.
        area: square pixels; None where the tool has none.
        is_crowd: whether it is a region of many persons, as COCO's iscrowd.
    """

    keypoints: np.ndarray
    box: Box | None = None
    area: float | None = None
    is_crowd: bool = False

    @property
    def is_labeled(self) -> bool:
        """Whether any keypoint is labeled."""
        return bool((self.keypoints[:, 2] > 0).any())

    def enclosing_box(self) -> Box:
        """The box of the tool, else the least rectangle around the labeled keypoints."""
        if self.box is not None:
            return self.box
        points = self.keypoints[self.keypoints[:, 2] > 0, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


@dataclass(frozen=True)
class ImportedImage:
    """An image with its persons.

    Attributes:
        name: relative to the folder of the dataset's images, with slashes.
        source: where the pixels are.
        width, height: pixels, upright.
        persons: in the order of the source.
        split: the part of the dataset that the source puts it into, such as "train"; None for none.
        video: the video, or the folder of its frames, that it is from; None for a single image.
    """

    name: str
    source: ImageSource
    width: int
    height: int
    persons: tuple[ImportedPerson, ...]
    split: str | None = None
    video: str | None = None


@dataclass(frozen=True)
class SourceSkeleton:
    """The keypoints as the source has them.

    Attributes:
        category: the name of a person's category, such as "dog".
        keypoints: K names.
        flip_pairs: pairs of names that a flip swaps, as the source gives them; None where it gives none.
        limbs: pairs of names.
        sigmas: K constants of the keypoint similarity; None where the source has none.
    """

    category: str
    keypoints: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    limbs: tuple[tuple[str, str], ...] = ()
    sigmas: tuple[float, ...] | None = None


@dataclass(frozen=True)
class RepeatedLabels:
    """A person whom two people labeled; sigmas are estimated from such pairs.

    Attributes:
        first, second: (K, 3), the keypoints of both.
        area: of the person, square pixels.
    """

    first: np.ndarray
    second: np.ndarray
    area: float


@dataclass(frozen=True)
class ImportedDataset:
    """The content of another tool's files.

    Attributes:
        format: of the source, a key of :data:`posecore.data.importers.IMPORTERS`.
        skeleton: of the persons.
        images: all images, those without persons too.
        notes: what was left out or decided.
        repeated: persons that were labeled twice.
    """

    format: str
    skeleton: SourceSkeleton
    images: tuple[ImportedImage, ...]
    notes: Notes
    repeated: tuple[RepeatedLabels, ...] = ()
