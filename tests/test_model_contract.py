"""The contract of all models: processes, inputs, losses outside of training, unknown values of keys."""

import importlib
from functools import partial
from typing import Any

import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from helpers import model_contract
from helpers.image_samples import sample
from helpers.person_crops import crop
from helpers.processes import in_processes
from torch import nn

from posecore.modeling.tta import PoseEstimatorWithTTA, merge_by_oks

# The methods that read whole images, and the configurations of their two models.
IMAGE_METHODS = {
    "directpose": ("R_50_25ep.yaml", "official/R_50.yaml"),
    "fcpose": ("R_50_1x.yaml", "official/R_50_3x.yaml"),
    "grouppose": ("R_50.yaml", "official/R_50.yaml"),
    "inspose": ("R_50_36ep.yaml", "official/R_50_3x.yaml"),
    "poet": ("R_50.yaml", "official/R_50.yaml"),
}
NOT_RANDOM = {
    "poet": ("MODEL.POET.DROPOUT", 0.0),
    "poseur": ("MODEL.POSEUR.NOISE.KIND", "none", "MODEL.POSEUR.DROPOUT", 0.0),
}
# Method, overrides, and the number of persons in each of four images; two images for each process.
JOINED_BATCHES = [
    ("directpose", ("MODEL.DIRECTPOSE.BOX_BRANCH", True), [2, 1, 3, 2]),
    ("directpose", ("MODEL.DIRECTPOSE.BOX_BRANCH", True), [0, 0, 1, 2]),
    ("directpose", (), [0, 0, 0, 0]),
    ("directpose", (), [1, 0, 0, 0]),
    ("fcpose", ("MODEL.FCPOSE.AUXILIARY", True, "MODEL.FCPOSE.MAX_POSITIVES", 1000), [2, 1, 3, 2]),
    ("fcpose", ("MODEL.FCPOSE.AUXILIARY", True, "MODEL.FCPOSE.MAX_POSITIVES", 1000), [0, 0, 1, 2]),
    ("grouppose", (), [2, 1, 3, 2]),
    ("grouppose", (), [0, 0, 1, 2]),
    ("inspose", (), [2, 1, 3, 2]),
    ("inspose", ("MODEL.INSPOSE.BOXES", True), [0, 0, 1, 2]),
    ("inspose", ("MODEL.META_ARCHITECTURE", "InsPoseOfficial"), [0, 0, 1, 2]),
    ("poet", (), [2, 1, 3, 2]),
    ("poet", (), [0, 0, 1, 2]),
    ("poseur", (), [1, 1, 1, 1]),
    ("poseur", (), [0, 0, 1, 1]),
]
WRONG_CHOICES = {
    "directpose": {
        "MODEL.DIRECTPOSE.HEAD": "kp_align",
        "MODEL.DIRECTPOSE.SAMPLE_FROM": "coarser",
        "MODEL.DIRECTPOSE.GROUPS": "nine",
        "MODEL.DIRECTPOSE.KEYPOINT_LOSS": "oks",
        "MODEL.DIRECTPOSE.HEATMAP_LABELS": "gaussian",
        "MODEL.FCOS.CLS_NORMALIZER": "images",
    },
    "fcpose": {
        "MODEL.FCPOSE.REFINEMENT": "p2",
        "MODEL.FCPOSE.HEATMAP_LOSS": "focal",
        "MODEL.FCPOSE.OFFSET_LOSS": "l1",
        "MODEL.FCPOSE.KEYPOINT_SCORE": "sigmoid",
    },
    "grouppose": {
        "MODEL.GROUPPOSE.CLASSES": "coco",
        "MODEL.GROUPPOSE.QUERY_POSITIONS": "learned",
        "MODEL.GROUPPOSE.AUXILIARY_STATES": "none",
        "MODEL.GROUPPOSE.CLASS_LOSS": "softmax",
        "MODEL.GROUPPOSE.KEYPOINT_SCORE": "visibility",
    },
    "poet": {
        "MODEL.POET.CLASSES": "coco",
        "MODEL.POET.MATCHER": "greedy",
        "MODEL.POET.ENCODER": "sparse",
        "MODEL.POET.KEYPOINT_SCORE": "logit",
    },
    "poseur": {
        "MODEL.POSEUR.CROSS_ATTENTION": "full",
        "MODEL.POSEUR.START": "zero",
        "MODEL.POSEUR.POOL": "res5",
        "MODEL.POSEUR.ENCODER": "mlp",
        "MODEL.POSEUR.INIT": "zero",
        "MODEL.POSEUR.LOSS": "l2",
        "MODEL.POSEUR.LOSS_NORMALIZER": "labeled",
        "MODEL.POSEUR.NOISE.KIND": "normal",
        "MODEL.POSEUR.SCORE": "sigma",
        "MODEL.POSEUR.INSTANCE_SCORE": "mean",
        "MODEL.POSEUR.FLIP_FUSION": "type2",
    },
}


def tiny(method: str, *overrides: Any, **config: str) -> nn.Module:
    """The small model of a method; ``config`` is a file under its configurations."""
    return importlib.import_module(f"helpers.{method}_oracle").tiny(*overrides, **config)


def step(method: str, overrides: tuple, people: list[int], share: bool) -> dict[str, dict[str, Any]]:
    """Losses and gradients of one step on images with so many persons, all or this process's share.

    A sample of Poseur is the crop of one person, of whom nothing is labeled where the number is 0.
    """
    torch.manual_seed(0)
    model = tiny(method, *NOT_RANDOM.get(method, ()), *overrides).train()
    if method == "poseur":
        model.backbone.eval()  # its norms would see the crops of one process only
        batch = [crop(seed, count > 0) for seed, count in enumerate(people)]
    else:
        batch = [sample(seed, count) for seed, count in enumerate(people)]
    return model_contract.step_on(model, batch, share)


@pytest.mark.parametrize(("method", "overrides", "people"), JOINED_BATCHES)
def test_two_processes_are_one_on_the_joined_batch(method: str, overrides: tuple, people: list[int]) -> None:
    whole = step(method, overrides, people, share=False)
    first, second = in_processes(step, 2, method, overrides, people, True)
    model_contract.shares_are_the_whole(whole, first, second, 1e-4 if method == "poseur" else 1e-5)


@pytest.mark.parametrize(
    ("method", "config"), [(method, config) for method, both in IMAGE_METHODS.items() for config in both]
)
def test_inputs_are_not_modified(method: str, config: str) -> None:
    model_contract.inputs_stay(tiny(method, config=config))


@pytest.mark.parametrize(("method", "config"), [(method, both[0]) for method, both in IMAGE_METHODS.items()])
def test_validation_losses_change_nothing(method: str, config: str) -> None:
    model_contract.losses_are_looked_at(tiny(method, config=config), [sample(0, 2), sample(1, 0)])


@pytest.mark.parametrize(("method", "config"), [(method, both[0]) for method, both in IMAGE_METHODS.items()])
def test_test_time_augmentation_by_the_identity_changes_nothing(method: str, config: str) -> None:
    model, image = tiny(method, config=config).eval(), sample(0, 0)
    merge = partial(merge_by_oks, skeleton=model.skeleton, threshold=0.5)
    resizes = [ResizeShortestEdge(min(image["image"].shape[1:]), 1000)]
    same = PoseEstimatorWithTTA(model, resizes=resizes, flip=False, merge=merge, limit=1000)
    both = PoseEstimatorWithTTA(model, resizes=resizes, flip=True, merge=merge, limit=5)
    with torch.no_grad():
        (expected,), (own,), (flipped,) = model([image]), same([image]), both([image])
    for name in ("scores", "pred_keypoints"):
        torch.testing.assert_close(own["instances"].get(name), expected["instances"].get(name))
    assert len(flipped["instances"]) <= 5
    assert flipped["instances"].pred_keypoints.isfinite().all()


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [(method, key, value) for method, keys in WRONG_CHOICES.items() for key, value in keys.items()],
)
def test_an_unknown_value_is_an_error_that_names_the_key_and_its_values(
    method: str, key: str, value: str
) -> None:
    with pytest.raises(ValueError, match=rf"{key} must be one of '.*'{value}'"):
        tiny(method, key, value)
