"""Accumulated gradients: the parts of a batch, in one process or two, are the whole batch to each method."""

import copy
import importlib
from typing import Any

import pytest
import torch
from detectron2.utils import comm
from helpers.image_samples import sample
from helpers.model_contract import shares_are_the_whole
from helpers.person_crops import crop
from helpers.processes import in_processes
from torch import Tensor, nn

from posecore.engine.step import TrainingStep
from posecore.engine.trainer import distribute
from posecore.modeling.losses import LossTerm, reduce_losses

FCPOSE = ("MODEL.FCPOSE.AUXILIARY", True, "MODEL.FCPOSE.MAX_POSITIVES", 1000)
POSEUR = ("MODEL.POSEUR.NOISE.KIND", "none", "MODEL.POSEUR.DROPOUT", 0.0)
# Method, overrides without anything random, and the number of persons in each of four images.
BATCHES = [
    ("directpose", ("MODEL.DIRECTPOSE.BOX_BRANCH", True), [2, 1, 3, 2]),
    ("directpose", (), [0, 0, 0, 2]),
    ("directpose", (), [0, 0, 0, 0]),
    ("fcpose", FCPOSE, [2, 1, 3, 0]),
    ("inspose", (), [2, 1, 3, 2]),
    ("inspose", ("MODEL.INSPOSE.BOXES", True), [1, 0, 0, 0]),
    ("inspose", ("MODEL.META_ARCHITECTURE", "InsPoseOfficial"), [0, 0, 1, 2]),
    ("poet", ("MODEL.POET.DROPOUT", 0.0), [2, 1, 3, 2]),
    ("poet", ("MODEL.POET.DROPOUT", 0.0), [0, 0, 0, 2]),
    ("poseur", POSEUR, [1, 1, 0, 1]),
    ("grouppose", (), [2, 1, 3, 2]),
    ("grouppose", (), [0, 0, 0, 2]),
]


def train_step(
    method: str, overrides: tuple, people: list[int], num_parts: int, share: bool = False
) -> dict[str, dict[str, Any]]:
    """Losses and gradients of one step, on all images or on this process's share.

    A sample of Poseur is the crop of one person, of whom nothing is labeled where the number is 0.
    """
    torch.manual_seed(0)
    model = importlib.import_module(f"helpers.{method}_oracle").tiny(*overrides).train()
    if method == "poseur":
        model.backbone.eval()  # its norms would see the crops of one part only
        batch = [crop(seed, count > 0) for seed, count in enumerate(people)]
    else:
        batch = [sample(seed, count) for seed, count in enumerate(people)]
    if share:
        half = len(batch) // comm.get_world_size()
        batch = batch[comm.get_rank() * half :][:half]
    step = TrainingStep(
        distribute(model) if share else model,
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0),
        num_parts=num_parts,
    )
    metrics = step(batch)
    return {
        "losses": {name: value for name, value in metrics.items() if name.startswith("loss")},
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
    }


@pytest.mark.parametrize(("method", "overrides", "people"), BATCHES)
@pytest.mark.parametrize("num_parts", [2, 4])
def test_accumulation_of_parts_is_the_whole_batch(
    method: str, overrides: tuple, people: list[int], num_parts: int
) -> None:
    whole = train_step(method, overrides, people, 1)
    parts = train_step(method, overrides, people, num_parts)
    shares_are_the_whole(whole, parts, parts, 1e-4 if method == "poseur" else 1e-5)


@pytest.mark.parametrize(
    ("method", "overrides", "people"),
    [BATCHES[1], BATCHES[7], ("fcpose", FCPOSE, [0, 0, 1, 2]), ("poseur", POSEUR, [0, 0, 1, 1])],
)
def test_accumulation_in_two_processes_is_the_joined_batch(
    method: str, overrides: tuple, people: list[int]
) -> None:
    whole = train_step(method, overrides, people, 1)
    first, second = in_processes(train_step, 2, method, overrides, people, 2, True)
    shares_are_the_whole(whole, first, second, 1e-4 if method == "poseur" else 1e-5)


class Counted(nn.Module):
    """Its loss is the mean of weight * number over those numbers that are above zero; a norm watches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm1d(1)
        self.batches: list[list[float]] = []
        self.drawn: list[float] = []

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        numbers = torch.tensor([item["number"] for item in batch])
        self.batches.append(numbers.tolist())
        self.drawn.append(torch.rand(()).item())
        self.norm(torch.cat([numbers, -numbers])[:, None])
        counted = numbers[numbers > 0]
        term = LossTerm((self.weight * counted).sum() + 0 * self.norm.weight.sum(), len(counted))
        return reduce_losses({"loss": term})


def numbered(*numbers: float) -> list[dict[str, Any]]:
    return [{"number": number} for number in numbers]


def counted_step(num_parts: int) -> tuple[Counted, TrainingStep]:
    model = Counted()
    return model, TrainingStep(model, torch.optim.SGD(model.parameters(), lr=0.0), num_parts=num_parts)


def test_accumulation_uses_the_counts_of_all_parts() -> None:
    model, step = counted_step(2)
    metrics = step(numbered(1.0, 2.0, 6.0, -1.0))
    assert metrics["loss"] == pytest.approx(3.0)  # (1 + 2 + 6) / 3, not the mean of the parts' means
    assert model.weight.grad.item() == pytest.approx(3.0)
    step(numbered(-1.0, -1.0, -1.0, 4.0))  # nothing is left of the step before
    assert model.weight.grad.item() == pytest.approx(4.0)


def test_accumulation_runs_each_part_with_the_same_random_numbers_and_all_but_one_twice() -> None:
    model, step = counted_step(3)
    torch.manual_seed(0)
    step(numbered(1.0, 2.0, 3.0))
    assert model.batches == [[1.0], [2.0], [3.0], [1.0], [2.0]]
    assert model.drawn[3:] == model.drawn[:2]
    torch.manual_seed(0)
    torch.rand(3)
    expected = torch.rand(())
    torch.manual_seed(0)
    step(numbered(1.0, 2.0, 3.0))
    assert torch.rand(()) == expected  # as if each part had run once


def test_accumulation_leaves_running_statistics_that_have_seen_each_part_once() -> None:
    model, step = counted_step(2)
    once = copy.deepcopy(model.norm)
    step(numbered(1.0, 3.0))
    for number in (3.0, 1.0):
        once(torch.tensor([[number], [-number]]))
    assert model.norm.num_batches_tracked == 2
    torch.testing.assert_close(model.norm.running_var, once.running_var)


def test_accumulation_needs_equal_parts() -> None:
    _, step = counted_step(2)
    with pytest.raises(ValueError, match=r"SOLVER.ACCUMULATION_STEPS is 2, and a process has 3 samples"):
        step(numbered(1.0, 2.0, 3.0))


class Plain(nn.Module):
    """A model whose losses are means over the batch, without terms."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {"loss": (self.weight * torch.tensor([item["number"] for item in batch])).mean()}


def test_accumulation_averages_losses_that_are_no_terms() -> None:
    model = Plain()
    step = TrainingStep(model, torch.optim.SGD(model.parameters(), lr=0.0), num_parts=2)
    assert step(numbered(1.0, 2.0, 6.0, 3.0))["loss"] == pytest.approx(3.0)
    assert model.weight.grad.item() == pytest.approx(3.0)
