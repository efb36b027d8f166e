"""Reads sources and makes the model's inputs, some images ahead of the prediction (:class:`ImageReader`)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from posecore.config.merge import UsageError
from posecore.inference.image_boxes import ImageBoxes
from posecore.inference.predictor import PosePredictor
from posecore.inference.read_ahead import read_ahead
from posecore.inference.video import Source, SourceImage


@dataclass(frozen=True)
class ReadyImage:
    """An image that was read.

    Attributes:
        frame: the image.
        sample: the model's input, if it needs no detector.
    """

    frame: SourceImage
    sample: dict[str, Any] | None


@dataclass(frozen=True)
class ReadFailure:
    """A message of what cannot be read or prepared."""

    message: str


class ImageReader:
    """Reads sources, and makes the model's inputs where it needs no detector.

    Args:
        predictor: the model.
        find_boxes: the persons' boxes of an image; None where the model or its detector finds them.
    """

    def __init__(self, predictor: PosePredictor, find_boxes: ImageBoxes | None) -> None:
        self.predictor = predictor
        self.find_boxes = find_boxes
        self.prepares = find_boxes is not None or not predictor.needs_boxes

    @contextmanager
    def ahead(self, sources: Iterable[Source], limit: int) -> Iterator[Iterator[ReadyImage | ReadFailure]]:
        """The items of :meth:`read`, of which a thread makes at most ``limit`` ahead; none for 0."""
        if not limit:
            yield self.read(sources)
            return
        with read_ahead(self.read(sources), limit) as items:
            yield items

    def read(self, sources: Iterable[Source]) -> Iterator[ReadyImage | ReadFailure]:
        """The images of sources, and what goes wrong with them, in order."""
        for source in sources:
            try:
                for frame in source.read(self.predictor.max_pixels):
                    yield self._ready(frame)
            except UsageError:
                raise
            except (OSError, ValueError) as error:
                yield ReadFailure(str(error))

    def _ready(self, frame: SourceImage) -> ReadyImage | ReadFailure:
        if not self.prepares:
            return ReadyImage(frame, None)
        boxes = self.find_boxes(frame) if self.find_boxes else None
        try:
            return ReadyImage(frame, self.predictor.sample(frame.image, boxes))
        except ValueError as error:
            return ReadFailure(f"image {frame.label}: {error}")
