"""Annotation formats: the table :data:`FORMATS`, and one module per format that reads its files.

A reader turns annotations into COCO's structure, whatever their format is. The evaluator of a format
computes the metrics that its benchmark defines. A reader declares what the entries of its files must hold,
and checks them by :mod:`posecore.data.formats.document`. To add a format, write its reader in a module here
and its evaluator in :mod:`posecore.evaluation`, and join the two by one entry of the table.
"""

from collections.abc import Callable
from dataclasses import dataclass

from detectron2.data.catalog import Metadata

from posecore.data.formats.coco import read_coco
from posecore.data.formats.coco_wholebody import read_wholebody
from posecore.data.formats.crowdpose import read_crowdpose
from posecore.data.formats.mpii import read_mpii
from posecore.structures.skeleton import Skeleton


@dataclass(frozen=True)
class Format:
    """How annotations of a format are read, and how poses on them are evaluated.

    Attributes:
        read: takes the metadata of a dataset (json_file, image_root) and its skeleton; returns what
            :func:`posecore.data.formats.coco.read_coco` returns.
        evaluator: import path "module:class" of a :class:`posecore.evaluation.PoseEvaluator`. It is named and
            not imported, because evaluation builds on data.
        has_ground_truth_file: whether the evaluator reads a file of its own, the ``ground_truth`` of a
            dataset definition.
    """

    read: Callable[[Metadata, Skeleton], dict]
    evaluator: str
    has_ground_truth_file: bool = False


# By the name that a dataset definition gives as its ``format``.
FORMATS: dict[str, Format] = {
    "coco": Format(
        read=lambda dataset, skeleton: read_coco(dataset.json_file, skeleton),
        evaluator="posecore.evaluation.coco:COCOPoseEvaluator",
    ),
    "crowdpose": Format(
        read=lambda dataset, skeleton: read_crowdpose(dataset.json_file, skeleton),
        evaluator="posecore.evaluation.crowdpose:CrowdPoseEvaluator",
    ),
    "coco_wholebody": Format(
        read=lambda dataset, skeleton: read_wholebody(dataset.json_file, skeleton),
        evaluator="posecore.evaluation.coco_wholebody:WholeBodyEvaluator",
    ),
    "mpii": Format(
        read=lambda dataset, skeleton: read_mpii(dataset.json_file, dataset.image_root, skeleton),
        evaluator="posecore.evaluation.mpii:MPIIEvaluator",
        has_ground_truth_file=True,
    ),
    "pck": Format(
        read=lambda dataset, skeleton: read_coco(dataset.json_file, skeleton),
        evaluator="posecore.evaluation.pck:PCKEvaluator",
    ),
}
