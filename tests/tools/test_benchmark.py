"""tools/benchmark.py: that both sides of a comparison do the same work, and that its tables add up."""

import importlib
import re
import subprocess
import sys
from argparse import Namespace

import pytest
import torch

from posecore.ops import keypoint_sample


@pytest.fixture
def benchmarks(root, monkeypatch):
    """Imports a module of the folder beside the tool, as the tool does."""
    monkeypatch.syspath_prepend(str(root / "tools"))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_both_operators_are_given_the_same_reads(benchmarks):
    ops = benchmarks("keypoint_sample")
    args = Namespace(size=(100, 164), num_images=2, device="cpu")
    for case in ops.CASES:
        for stride in ops.STRIDES:
            data = ops.make_example(case, stride, torch.float32, args)
            theirs = ops.by_grid_sample(data.value, data.grid)  # (N*G, c, 1, Q/N)
            theirs = (
                theirs.view(2, case.groups, case.group_channels, -1)
                .permute(0, 3, 1, 2)
                .reshape(len(data.points), -1)
            )
            torch.testing.assert_close(
                keypoint_sample(data.value, data.points, data.images), theirs, atol=1e-4, rtol=0
            )


def test_both_forms_of_attention_are_given_the_same_reads(benchmarks):
    attention = benchmarks("ms_deform_attn")
    for case in attention.cases(Namespace(size=(100, 164), num_images=2)):
        data = case.make(torch.float32, "cpu")
        assert data.locations.shape[-2] == attention.POINTS
        inputs = data.shapes, data.value, data.locations, data.weights
        torch.testing.assert_close(
            attention.ours(*inputs), attention.by_grid_sample(*inputs), atol=1e-4, rtol=1e-4
        )


def test_candidates_take_turns(benchmarks):
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in ("one", "two")}
    times = benchmarks("timing").take_turns(candidates, rounds=3, device="cpu")
    assert calls == ["one", "two"] * 4
    assert set(times) == {"one", "two"}


def test_ops_prints_a_table_for_every_use(root):
    command = [
        sys.executable,
        "tools/benchmark.py",
        "ops",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--rounds",
        "1",
    ]
    command += ["--size", "64", "96"]
    output = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert "1 threads" in output
    tables = output.split("\n\n")[1:]
    by_level = [table for table in tables if "1/128" in table]
    assert len(by_level) == 6
    for table in by_level:
        lines = [
            [float(figure) for figure in re.findall(r"\d+\.\d{3}", line)]
            for line in table.splitlines()
            if line.startswith(("1/", "all"))
        ]
        assert torch.tensor(lines[:-1]).sum(dim=0).tolist() == pytest.approx(lines[-1], abs=5e-3)
    by_kind = [table for table in tables if "forward and backward  " in table]
    assert len(by_kind) == 2
    for table in by_kind:
        for theirs, ours, ratio in re.findall(r"(\d+\.\d{3}) +(\d+\.\d{3}) +\((\d+\.\d\d)x\)", table):
            assert float(ratio) == pytest.approx(float(theirs) / float(ours), rel=0.02)
    assert re.search(r"256 x 192 +\S+ +\S+\n512 x 384 +\S+ +\S+\n", output)


def test_memory_is_that_of_a_process_and_grows_with_the_image(benchmarks):
    memory = benchmarks("memory")
    config = "directpose/demo/coco_tiny.yaml"
    small, large = (memory.in_new_process(config, 3, (side, side), "cpu", 1) for side in (64, 512))
    assert 100 < small < large < 4000


def test_memory_counts_the_persons_that_it_speaks_of(benchmarks):
    with pytest.raises(RuntimeError, match=r"DirectPose finds [0-9]+ persons instead of 100"):
        benchmarks("memory").peak_memory("directpose/demo/coco_tiny.yaml", 100, (64, 64), "cpu", 1)


@pytest.mark.parametrize("config", ["fcpose/demo/coco_tiny.yaml", "poet/demo/coco_tiny.yaml"])
def test_models_find_as_many_persons_as_are_measured(benchmarks, config):
    """A set of poses is as large as it is."""
    model = benchmarks("model")
    net = model.ours(config, "cpu")
    image = torch.randint(0, 256, (3, 128, 160), dtype=torch.uint8)
    with torch.no_grad():
        for persons in (3, 7):
            model.predict(net, image, persons)
            found = len(net([{"image": image}])[0]["instances"])
            assert found == (net.queries.positions.num_embeddings if "poet" in config else persons)


def test_crops_measures_poseur_beside_rle(benchmarks):
    crops = benchmarks("crops")
    baseline, model = (crops.build(name, "cpu") for name in list(crops.ROWS)[:2])
    assert dict(baseline.pose_losses.named_children()).keys() == {"coarse"}
    assert dict(model.pose_losses.named_children()).keys() == {"coarse", "decoder"}
    crops.train(model, 2)()
    assert model.network.neck.levels[0][0].weight.grad is not None
    assert len(crops.predict(model, 3)()[0]["instances"].pred_keypoints) >= 1
