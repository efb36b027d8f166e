"""Times the forms of KPAlign (:func:`time_kpalign`).

:class:`~directpose.kpalign.KPAlign` projects maps before it samples them, and computes chosen locations
alone. Both leave the result as it is; the benchmark shows what each of them saves.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from directpose.kpalign import SAMPLE_FROM, KPAlign, sampling_points
from posecore.benchmarks.timing import describe_machine, take_turns
from posecore.modeling.fcos.locations import Locations, SelectedLocations, make_locations
from posecore.structures.skeleton import load_skeleton

STRIDES = (8, 16, 32, 64, 128)
GROUP_CHANNELS = 64


def sample_then_predict(kpalign: KPAlign, maps: list[Tensor], locations: Locations) -> Tensor:
    """The paper's order at every location: grid_sample of 64 channels per group, then the predictor.

    Args:
        kpalign: with predictors of its own for each level.
        maps: (1, C, H_l, W_l) per level.
        locations: of all levels.

    Returns:
        Offsets from the locations in cells, flat: level by level, group by group, as (K_g, 2, H_l, W_l).
    """
    features = [kpalign.sampler(level) for level in maps]
    groups = len(kpalign.predictors)
    results = []
    for level, (stride, (height, width)) in enumerate(
        zip(locations.level_strides, locations.sizes, strict=True)
    ):
        source = kpalign.sample_from(level, 0)
        ratio = stride // locations.level_strides[source]
        located = kpalign.locator(maps[level]).unflatten(1, (groups, 2))
        start = locations.starts[level]
        centers = (locations.points[start : start + height * width] / stride).view(height, width, 2)
        points = sampling_points(centers, located.permute(0, 1, 3, 4, 2), ratio)
        size = points.new_tensor([features[source].shape[3], features[source].shape[2]])
        channels = features[source].unflatten(1, (groups, -1)).flatten(0, 1)
        sampled = F.grid_sample(channels, (2 * points / size - 1).flatten(0, 1), align_corners=False)
        for group, predictor in enumerate(kpalign.predictors):
            predicted = predictor(sampled[group : group + 1]).unflatten(1, (-1, 2))
            results.append(predicted / ratio + located[:, group : group + 1])
    return torch.cat([result.flatten() for result in results])


def time_kpalign(
    *, size: tuple[int, int], num_candidates: int, device: str, threads: int, rounds: int
) -> None:
    """Prints milliseconds of the paper's order, of projecting first, and of chosen locations alone.

    Args:
        size: height and width of the image.
        num_candidates: chosen locations.
        device: "cpu" or "cuda".
        threads: on the CPU.
        rounds: runs of each form.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    groups = load_skeleton("coco_17").group_indices
    kpalign = KPAlign(
        tower=nn.Identity(),
        channels=GROUP_CHANNELS * len(groups),
        groups=groups,
        separate=True,
        sample_from=SAMPLE_FROM["finer"],
    ).to(device)
    sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES]
    maps = [torch.randn(1, GROUP_CHANNELS * len(groups), *cells, device=device) for cells in sizes]
    locations = make_locations(sizes, STRIDES, device)
    everywhere = SelectedLocations.everywhere(1, len(locations), device)
    some = torch.randperm(len(locations), device=device)[:num_candidates]
    chosen = SelectedLocations(torch.zeros_like(some), some)
    forms: dict[str, Callable[[], Tensor]] = {
        "the sampler's convolution alone": lambda: torch.cat(
            [kpalign.sampler(level).flatten() for level in maps]
        ),
        "sample, then predict, everywhere": lambda: sample_then_predict(kpalign, maps, locations),
        "project, then sample, everywhere": lambda: kpalign(maps, locations, everywhere),
        f"project, then sample, {num_candidates} locations": lambda: kpalign(maps, locations, chosen),
    }
    print(describe_machine(device))
    print(f"an image of {size[0]} x {size[1]}, {len(locations)} locations")
    print(f"milliseconds, medians of {rounds} rounds; the sampler's convolution is part of every form")
    with torch.no_grad():
        inference = take_turns(forms, rounds, device)
    training = take_turns(
        {name: partial(_backward, form) for name, form in forms.items()},
        rounds,
        device,
    )
    print(f"{'':42}{'forward':>10}{'with backward':>16}")
    for name in forms:
        print(f"{name:42}{inference[name]:10.0f}{training[name]:16.0f}")


def _backward(form: Callable[[], Tensor]) -> None:
    form().sum().backward()
