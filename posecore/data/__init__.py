"""Data: datasets, the samples that models take, their loaders, and drawn images to practice on.

datasets          datasets by name, and files that define more of them
built_in          the datasets that are known by their names
images            the reader of image files
image_writer      the writer of image files
bad_images        what is done where a training image cannot be read
formats           readers of annotation formats, COCO, CrowdPose, COCO-WholeBody, MPII, and what they check
importers         readers of the files of labeling tools, of which a dataset is made, and exports to them
augment           augmentations of training images
deferred          augmentations whose resize waits for the crop that follows
mapper            from a dataset dict to a sample of an image
mosaic            images made of four samples
samples           kinds of samples: images, and those that methods register
training_samples  the samples of a dataset for a loader, with their random numbers
digest            a short text that tells training samples from others
person_boxes      boxes of persons for top-down models, and files of them
sampler           the order of training samples, which a resumed training continues
job_signals       signals to a whole job, which the workers of a loader leave to the training
loader            batches, by the configuration
guarded_reading   files whose library crashes at broken ones, read in a process of their own
mat_files         MATLAB's files
lspet             makes a dataset of the published archive of Leeds Sports Pose extended
near_duplicates   groups of images that show nearly the same, for splits
synthetic         drawn images of jointed figures with ground truth (python -m posecore.data.synthetic)
"""

from posecore.data.augment import build_augmentations
from posecore.data.datasets import (
    dataset_format,
    dataset_metadata,
    load_dataset,
    read_dataset,
    register,
    register_definitions,
    resolve_dataset,
    resolve_datasets,
)
from posecore.data.formats.coco import read_coco
from posecore.data.images import image_size, read_image
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
    "dataset_format",
    "dataset_metadata",
    "image_size",
    "labeled_records",
    "load_dataset",
    "read_coco",
    "read_dataset",
    "read_detections",
    "read_image",
    "register",
    "register_definitions",
    "register_samples",
    "resolve_dataset",
    "resolve_datasets",
    "train_dataset_dicts",
]
