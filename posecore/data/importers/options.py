"""What the user says about a source: :class:`ImportOptions`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a source.

    Attributes:
        category: the category, class or skeleton to take where the source has several.
        keypoints: names of the keypoints, in their order, where the source does not have them.
        images: a folder in which images and videos are looked for before all others.
        min_score: persons of predictions with a lower score are left out.
        min_keypoint_score: their keypoints with a lower confidence are not labeled.
    """

    category: str | None = None
    keypoints: tuple[str, ...] | None = None
    images: Path | None = None
    min_score: float = 0.5
    min_keypoint_score: float = 0.2
