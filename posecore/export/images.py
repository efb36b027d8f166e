"""The images that exports are checked and calibrated on, given or drawn: :class:`CheckImage`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posecore.config.merge import UsageError
from posecore.data.images import MAX_PIXELS
from posecore.data.person_boxes import PersonBoxes
from posecore.data.synthetic.figures import figure_maker
from posecore.data.synthetic.images import Scene, make_image
from posecore.inference.image_boxes import ImageBoxes
from posecore.inference.video import list_sources
from posecore.structures.skeleton import Skeleton

# Height and width of drawn images, and the most persons in one.
DRAWN_SIZE = (480, 640)
DRAWN_PERSONS = 3
SEED = 0


@dataclass(frozen=True)
class CheckImage:
    """An image that an export is checked on.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: of its persons, for models that look at one person at a time.
    """

    image: np.ndarray
    boxes: PersonBoxes


def drawn_images(skeleton: Skeleton, count: int, size: tuple[int, int] = DRAWN_SIZE) -> list[CheckImage]:
    """Images of one to three drawn figures, the same ones on every call."""
    make_figure = figure_maker(skeleton)
    images = []
    for index in range(count):
        rng = np.random.default_rng([SEED, index])
        image, people = make_image(rng, make_figure, size, Scene(people=(1, DRAWN_PERSONS)))
        boxes = np.array([person["bbox"] for person in people], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        images.append(CheckImage(image, PersonBoxes(boxes, np.ones(len(boxes)))))
    return images


def read_check_images(
    sources: Sequence[str], boxes: Path | None, limit: int, max_pixels: int = MAX_PIXELS
) -> list[CheckImage]:
    """The first images of files, folders and videos.

    Args:
        sources: images, folders or videos.
        boxes: a file with the boxes of the persons (:class:`ImageBoxes`); None where each image is the box of
            one person, as a crop is.
        limit: largest number of images.
        max_pixels: as for :func:`posecore.data.images.read_image`.

    Raises:
        FileNotFoundError, ValueError: an image or the file of boxes is missing or cannot be used.
        UsageError: a source is a stream, or there is no image.
    """
    find_boxes = ImageBoxes.read(boxes) if boxes else None
    images = list(_read(sources, find_boxes, limit, max_pixels))
    if not images:
        raise UsageError(f"--images {' '.join(sources)}: there is no image")
    return images


def _read(
    sources: Sequence[str], find_boxes: ImageBoxes | None, limit: int, max_pixels: int
) -> Iterator[CheckImage]:
    count = 0
    for text in sources:
        for source in list_sources(text):
            if source.kind == "live":
                raise UsageError(f"--images {source}: a camera or stream cannot be used, only files")
            for frame in source.read(max_pixels):
                if count == limit:
                    return
                count += 1
                height, width = frame.image.shape[:2]
                whole = PersonBoxes(np.array([[0.0, 0.0, width, height]]), np.ones(1))
                yield CheckImage(frame.image, find_boxes(frame) if find_boxes else whole)
