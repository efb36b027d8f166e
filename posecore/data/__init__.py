"""Datasets, the samples that models take, and images to practice on.

coco_json    annotation files in COCO's format, read and checked
crowdpose    CrowdPose's files, as if they were COCO's
wholebody    COCO-WholeBody's likewise
mpii         MPII's likewise
built_in     the datasets that are known by their names
datasets     datasets by name; definition files
augment      random changes of training images
mapper       a dataset dict becomes a sample
person_boxes boxes that somebody has found already
samples         what samples are made of: images, or what a method registers
sampler      the order of the images, which can be taken up again
loader       batches, by the configuration
figures      jointed figures in random poses
synthetic    images of such figures with their ground truth (python -m posecore.data.synthetic)
check        what could be wrong with a dataset (tools/check_dataset.py)
"""

from posecore.data.augment import build_augmentations
from posecore.data.datasets import (
    dataset_metadata,
    load_dataset,
    read_dataset,
    register,
    register_definitions,
    resolve_dataset,
)
from posecore.data.formats.coco import read_coco
from posecore.data.loader import (
    build_labeled_loader,
    build_test_loader,
    build_train_loader,
    labeled_records,
    train_dataset_dicts,
)
from posecore.data.mapper import PoseMapper
from posecore.data.person_boxes import PersonBoxes, read_detections
from posecore.data.samples import SAMPLES, Samples, build_samples, register_samples

__all__ = [
    "SAMPLES",
    "PersonBoxes",
    "PoseMapper",
    "Samples",
    "build_augmentations",
    "build_labeled_loader",
    "build_samples",
    "build_test_loader",
    "build_train_loader",
    "dataset_metadata",
    "labeled_records",
    "load_dataset",
    "read_coco",
    "read_dataset",
    "read_detections",
    "register",
    "register_definitions",
    "register_samples",
    "resolve_dataset",
    "train_dataset_dicts",
]
