"""Two and three processes end with the same statistics of BatchNorms, and so with one model."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from helpers.processes import in_processes
from helpers.toy_model import ToyPose
from helpers.toy_training import prepare, toy_cfg
from torch import nn
from torch.testing import assert_close

from posecore.engine.norm_statistics import average_norm_statistics
from posecore.structures.skeleton import Skeleton


def networks() -> tuple[nn.Sequential, nn.BatchNorm1d]:
    """Networks with statistics that differ between the processes, and with norms that have none."""
    first = nn.Sequential(
        nn.Conv2d(2, 3, 1),
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.GroupNorm(1, 2),
    )
    second = nn.BatchNorm1d(2)
    rank = comm.get_rank()
    first[1].running_mean.copy_(torch.tensor([rank, 2 * rank, 0.1]))
    first[1].running_var.copy_(torch.tensor([1.0, 1.0 + 3 * rank, 0.7]))
    second.running_mean.fill_(10.0 * rank)
    return first, second


def average() -> list[torch.Tensor]:
    first, second = networks()
    nn.init.constant_(first[0].weight, comm.get_rank())
    average_norm_statistics(first, second)
    assert (first[0].weight == comm.get_rank()).all()
    return [first[1].running_mean, first[1].running_var, second.running_mean, second.running_var]


def average_nothing() -> int:
    average_norm_statistics(nn.Linear(2, 2))
    return comm.get_world_size()


def test_all_processes_get_the_means():
    for mean, var, second_mean, second_var in in_processes(average, 3):
        assert_close(mean[:2], torch.tensor([1.0, 2.0]))
        assert_close(var[:2], torch.tensor([1.0, 4.0]))
        assert torch.equal(second_mean, torch.tensor([10.0, 10.0]))
        # A sum of three of these numbers in single precision, divided by three, is not always the number.
        assert torch.equal(mean[2], torch.tensor(0.1))
        assert torch.equal(var[2], torch.tensor(0.7))
        assert torch.equal(second_var, torch.ones(2))


def test_a_model_without_such_norms_exchanges_nothing():
    assert in_processes(average_nothing, 2) == [2, 2]


def test_one_process_keeps_its_own():
    first, second = networks()
    mean = first[1].running_mean.clone()
    average_norm_statistics(first, second)
    assert torch.equal(first[1].running_mean, mean)


@META_ARCH_REGISTRY.register()
class ToyPoseWithNorm(ToyPose):
    """A toy model with a BatchNorm of its images' mean colors, which affects nothing."""

    @configurable
    def __init__(self, *, skeleton: Skeleton) -> None:
        super().__init__(skeleton=skeleton)
        self.norm = nn.BatchNorm1d(3, affine=False)

    def forward(self, batched_inputs):
        self.norm(torch.stack([(sample["image"] / 255).mean((1, 2)) for sample in batched_inputs]))
        return super().forward(batched_inputs)


def means(state):
    """The running mean of the BatchNorm in the state of a model, on its own or in a wrapper."""
    return next(values for name, values in state.items() if name.endswith("norm.running_mean"))


def train(dataset, output):
    """The means at two evaluations, the first one before any checkpoint, and in the last checkpoint."""
    cfg = toy_cfg(
        dataset,
        output,
        *("MODEL.META_ARCHITECTURE", "ToyPoseWithNorm", "SOLVER.EMA.ENABLED", True),
        *("SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 0),
        *("TEST.EVAL_PERIOD", 2),
    )
    trainer = prepare(cfg)
    evaluated = []

    def evaluate():
        for model in (trainer.step.model, trainer._averages):
            evaluated.append(means(model.state_dict()).clone())
        return {}

    trainer._evaluate = evaluate
    trainer.train()
    saved = torch.load(f"{output}/model_final.pth", weights_only=True)
    return torch.stack(evaluated), [means(saved["model"]), means(saved["ema"])]


def test_a_training_evaluates_and_saves_one_model(dataset, tmp_path):
    (first, (saved, saved_average)), (second, _) = in_processes(train, 2, str(dataset), str(tmp_path))
    assert torch.equal(first, second)
    assert len(first.unique(dim=0)) == 4
    assert torch.equal(saved, first[2])
    assert torch.equal(saved_average, first[3])
