"""What DATASETS.BAD_IMAGES asks for where training images cannot be read: :class:`BadImageLog`."""

import logging
import math
from pathlib import Path

from detectron2.config import CfgNode

from posecore.config.errors import UsageError
from posecore.data.training_samples import BadImage, Loaded

logger = logging.getLogger(__name__)

FILE = "bad_images.txt"
STOP = "stop"


class BadImageError(UsageError):
    """More training images than allowed cannot be read."""


def bad_image_share(cfg: CfgNode) -> float:
    """The share of images that may be bad, which DATASETS.BAD_IMAGES states; 0 for "stop".

    Raises:
        ValueError: it is neither "stop" nor a number above 0 and below 1.
    """
    value = cfg.DATASETS.BAD_IMAGES
    if value == STOP:
        return 0.0
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise ValueError(
            f'DATASETS.BAD_IMAGES must be "{STOP}" or a share of the images above 0 and below 1, such as '
            f'"0.01", not {value!r}'
        )
    return share


class BadImageLog:
    """Counts the images that cannot be read, and names each in a file.

    Args:
        share: of the images that may be bad.
        num_images: number of training images.
        output_dir: folder of bad_images.txt.
    """

    def __init__(self, *, share: float, num_images: int, output_dir: str | Path) -> None:
        self._share = share
        self._most = math.floor(share * num_images)
        self._num_images = num_images
        self._file = Path(output_dir) / FILE
        self._names: set[str] = set()

    def samples(self, batch: list[Loaded]) -> list[dict]:
        """The samples of a batch; images that were passed over are recorded.

        Raises:
            BadImageError: too many images are bad.
        """
        for loaded in batch:
            for image in loaded.bad_images:
                self._record(image)
        samples = [loaded.sample for loaded in batch if loaded.sample is not None]
        if len(samples) < len(batch):
            last = next(loaded for loaded in batch if loaded.sample is None).bad_images[-1]
            raise BadImageError(f"{last.message}: {self._file.name} has more images that cannot be read")
        return samples

    def _record(self, image: BadImage) -> None:
        if image.file_name in self._names:
            return
        self._names.add(image.file_name)
        if self._share == 0:
            raise BadImageError(
                f'{image.message}. DATASETS.BAD_IMAGES "0.01" would leave out up to one image in a hundred'
            )
        logger.warning("Passed over, see %s: %s", self._file, image.message)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        line = f"{image.file_name}\t{' '.join(image.message.split())}\n"
        # Other processes, and the training before a resume, write to the same file.
        if not self._file.exists() or line not in self._file.read_text(encoding="utf-8"):
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line)
        if len(self._names) > self._most:
            raise BadImageError(
                f"{len(self._names)} of {self._num_images} training images cannot be read, more than "
                f"DATASETS.BAD_IMAGES {self._share:g} allows; {self._file} names them. "
                f"The last: {image.message}"
            )
