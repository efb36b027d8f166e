"""DirectPose: poses regressed from aligned features, without boxes or grouping (arXiv 1911.07451)."""

from directpose.config import add_config
from directpose.directpose import DirectPose

__all__ = ["DirectPose", "add_config"]
