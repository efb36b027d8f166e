"""What KPAlign's two identities save: projecting before sampling, and computing chosen locations alone."""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from posecore.modeling.fcos.queries import Queries
from torch import Tensor

from benchmarks.timing import describe_machine, take_turns
from directpose.kpalign import SAMPLE_FROM, KPAlign, sampling_points
from posecore.modeling.fcos.locations import Locations, make_locations
from posecore.structures.skeleton import load_skeleton

STRIDES = (8, 16, 32, 64, 128)
GROUP_CHANNELS = 64


def sample_then_predict(kpalign: KPAlign, maps: list[Tensor], locations: Locations) -> Tensor:
    """The paper's order at every location, with grid_sample: 64 channels per group, then the predictor."""
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


def run(args: argparse.Namespace) -> None:
    """Prints milliseconds of the plain form, of the projected form and of the form at chosen locations."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    groups = load_skeleton("coco_17").group_indices
    kpalign = KPAlign(
        channels=GROUP_CHANNELS * len(groups), groups=groups, separate=True, sample_from=SAMPLE_FROM["finer"]
    ).to(args.device)
    sizes = [tuple(-(-side // stride) for side in args.size) for stride in STRIDES]
    maps = [torch.randn(1, GROUP_CHANNELS * len(groups), *size, device=args.device) for size in sizes]
    locations = make_locations(sizes, STRIDES, args.device)
    everywhere = Queries.everywhere(1, len(locations), args.device)
    some = torch.randperm(len(locations), device=args.device)[: args.candidates]
    chosen = Queries(torch.zeros_like(some), some)
    forms: dict[str, Callable[[], Tensor]] = {
        "the sampler's convolution alone": lambda: torch.cat(
            [kpalign.sampler(level).flatten() for level in maps]
        ),
        "sample, then predict, everywhere": lambda: sample_then_predict(kpalign, maps, locations),
        "project, then sample, everywhere": lambda: kpalign(maps, locations, everywhere),
        f"project, then sample, {args.candidates} locations": lambda: kpalign(maps, locations, chosen),
    }
    print(describe_machine(args.device))
    print(f"an image of {args.size[0]} x {args.size[1]}, {len(locations)} locations")
    print(f"milliseconds, medians of {args.rounds} rounds; the sampler's convolution is part of every form")
    with torch.no_grad():
        inference = take_turns(forms, args.rounds, args.device)
    training = take_turns(
        {name: lambda form=form: form().sum().backward() for name, form in forms.items()},
        args.rounds,
        args.device,
    )
    print(f"{'':42}{'forward':>10}{'with backward':>16}")
    for name in forms:
        print(f"{name:42}{inference[name]:10.0f}{training[name]:16.0f}")
