"""The outputs of the heads, against those of both official codes for the same features and weights."""

import json
from pathlib import Path

import pytest
import torch
from helpers.directpose_oracle import LEVELS, dense_keypoints, filled, head_inputs
from helpers.oracles import arrays, load_fill
from torch.testing import assert_close

from directpose.convert_weights import convert
from directpose.kpalign import sampling_points

TOLERANCE = {"atol": 5e-5, "rtol": 1e-4}
# For the paper's official code and gluon-cv's: configuration, manifest, stored outputs.
CASES = {
    "paper": ("official/R_50.yaml", "manifest_authors.json", "kpalign_authors/outputs.npz"),
    "gluon": (
        "official/R_50_gluon.yaml",
        "manifest_gluon_paperlike.json",
        "kpalign_gluon/paperlike_outputs.npz",
    ),
    "gluon_boxes": (
        "official/R_50_gluon_boxes.yaml",
        "manifest_gluon_with_box.json",
        "kpalign_gluon/with_box_outputs.npz",
    ),
}
# Names of outputs in the paper's official code -> names in gluon-cv's.
NAMES = {"kps_offsets": "kpt_reg", "centerness": "ctrness"}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_head_outputs(shared: Path, case: str) -> None:
    config, manifest, expected_file = CASES[case]
    folder = shared / "oracles" / "directpose"
    if not (folder / expected_file).exists():
        pytest.skip(f"the shared data has no {expected_file}")
    model = filled(shared, config, manifest)
    features = head_inputs(shared)
    expected = arrays(folder / expected_file)
    predictions = model.detector(features)
    where = predictions.locations
    cells = [height * width for height, width in where.sizes]

    def compare(name: str, level: str, actual: torch.Tensor) -> None:
        name = name if case == "paper" else NAMES.get(name, name)
        assert_close(actual, expected[f"{name}_{level}"], **TOLERANCE)

    keypoints = dense_keypoints(model, features)
    for index, level in enumerate(LEVELS):
        compare(
            "locator", level, model.keypoint_branch.locator(model.keypoint_branch.tower(features[level]))[0]
        )
        compare("kps_offsets", level, keypoints[index][0])
        for name, ours in (("logits", "cls"), ("centerness", "centerness"), ("bbox_reg", "ltrb")):
            if ours in predictions.maps:
                flat = predictions.maps[ours].split(cells, dim=1)[index][0]
                values = flat.T.unflatten(1, where.sizes[index])
                compare(name, level, values.relu() if ours == "ltrb" else values)
    heatmap = model.heatmap_branch(features["p3"])[0]
    if case == "paper":
        expected = arrays(folder / "kpalign_authors/heatmap.npz")
    assert_close(heatmap, expected["heatmap_logits"], **TOLERANCE)


@torch.no_grad()
def test_intermediate_features(shared: Path) -> None:
    model = filled(shared, *CASES["paper"][:2])
    expected = arrays(shared / "oracles/directpose/kpalign_authors/features.npz")
    features = head_inputs(shared)
    channels = expected["channels"]
    for level in LEVELS:
        tower = model.keypoint_branch.tower(features[level])
        sampler = model.keypoint_branch.sampler(tower)
        for name, values in (("kps_tower", tower), ("sampler_features", sampler)):
            slices = expected[f"{name}_{level}"]
            rows, columns = slices.shape[1:]
            assert_close(values[0, channels, :rows, :columns], slices, **TOLERANCE)
            assert_close(
                values[0].double().mean(dim=(1, 2)), expected[f"{name}_{level}_channel_mean"], **TOLERANCE
            )


@torch.no_grad()
def test_first_group_that_samples_the_finer_level(shared: Path) -> None:
    """The paper's official code, run on two levels at a time, so that the first group samples the finer."""
    model = filled(shared, *CASES["paper"][:2])
    model.keypoint_branch.sample_from = lambda level, group: max(level - 1, 0)
    expected = arrays(shared / "oracles/directpose/kpalign_authors/outputs.npz")
    keypoints = dense_keypoints(model, head_inputs(shared))
    for level, ours in list(zip(LEVELS, keypoints, strict=True))[1:]:
        golden = expected[f"kps_offsets_head_group_from_previous_level_{level}"]
        assert_close(ours[0, : len(golden)], golden, **TOLERANCE)


@torch.no_grad()
def test_sampling_positions(shared: Path) -> None:
    folder = shared / "oracles/directpose/kpalign_authors"
    outputs, aligned = arrays(folder / "outputs.npz"), arrays(folder / "aligned.npz")
    for index, level in enumerate(LEVELS):
        golden = aligned[f"positions_{level}"].flatten(2)  # (9, 2, cells), index units
        rows, columns = aligned[f"positions_{level}"].shape[2:]
        located = outputs[f"locator_{level}"][:, :rows, :columns].flatten(1).unflatten(0, (9, 2))
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        centers = torch.stack([x, y]).flatten(1).T.float()
        for group in range(9):
            ratio = 1 if index == 0 else 2**index if group == 0 else 2
            points = sampling_points(centers, located[group].T, ratio) - 0.5
            assert_close(points.T, golden[group], atol=1e-4, rtol=1e-4)


def test_gradients(shared: Path) -> None:
    fill = load_fill(shared)
    folder = shared / "oracles/directpose/kpalign_authors"
    golden = json.loads((folder / "gradients.json").read_text())
    model = filled(shared, *CASES["paper"][:2])
    features = {level: value.requires_grad_() for level, value in head_inputs(shared).items()}
    predictions = model.detector(features)
    where = predictions.locations
    keypoints = dense_keypoints(model, features)
    cells = [height * width for height, width in where.sizes]
    total = torch.zeros(())
    for index, level in enumerate(LEVELS):
        size = where.sizes[index]
        maps = {"kps": keypoints[index]}
        for name, ours in (("logits", "cls"), ("centerness", "centerness")):
            maps[name] = predictions.maps[ours].split(cells, dim=1)[index].transpose(1, 2).unflatten(2, size)
        for name, values in maps.items():
            weight = torch.from_numpy(fill.normal(f"directpose/grad/{name}/{level}", tuple(values.shape)))
            total = total + (values * weight).sum()
    assert_close(total.item(), golden["value"], rtol=1e-3, atol=1e-2)
    total.backward()

    for level in LEVELS:
        assert_close(
            features[level].grad.norm().item(), golden["input_gradient_norms"][level], rtol=1e-3, atol=0
        )
        slices = arrays(folder / "gradients.npz")[f"input_grad_{level}"]
        rows, columns = slices.shape[1:]
        assert_close(features[level].grad[0, ::37, :rows, :columns], slices, rtol=1e-3, atol=2e-3)
    names = {name: torch.zeros(()) for name in golden["parameter_gradient_norms"]}
    ours = dict(zip(names, convert(names), strict=True))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, norm in golden["parameter_gradient_norms"].items():
        assert_close(gradients[ours[name]].norm().item(), norm, rtol=1e-3, atol=1e-3)
