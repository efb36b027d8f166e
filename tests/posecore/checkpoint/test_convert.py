"""Official checkpoints with made-up values become ours, or are refused."""

import json
from pathlib import Path

import pytest
import torch
from helpers.fcpose_oracle import build, official_state

from posecore.checkpoint.checkpointer import fit_weights
from posecore.checkpoint.convert import (
    convert_checkpoint,
    convert_checkpoint_file,
    write_average,
    write_backbone,
)
from posecore.checkpoint.weights import CheckpointError
from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS

CONFIG = CONFIGS / "fcpose/official/R_50_3x.yaml"


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, torch.Tensor]:
    case = json.loads((shared / "oracles/fcpose/case_a/case.json").read_text())
    return official_state(shared, case)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_official_checkpoint_becomes_ours(tmp_path: Path, state: dict, wrapped: bool) -> None:
    torch.save({"model": state, "iteration": 269999} if wrapped else state, tmp_path / "in.pth")
    weights = convert_checkpoint("fcpose", tmp_path / "in.pth", CONFIG)
    build("official/R_50_3x.yaml").load_state_dict(weights)
    # A view of a larger tensor would be saved with all of it.
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in weights.values())


def test_what_does_not_fit_is_refused(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "in.pth")
    with pytest.raises(UsageError, match=r"does not fit the model of .*fcpose/R_50_3x\.yaml"):
        convert_checkpoint("fcpose", tmp_path / "in.pth", CONFIGS / "fcpose/R_50_3x.yaml")
    with pytest.raises(UsageError, match="METHOD openpose"):
        convert_checkpoint("openpose", tmp_path / "in.pth", CONFIG)
    incomplete = {name: tensor for name, tensor in state.items() if "cls_logits" not in name}
    torch.save(incomplete, tmp_path / "in.pth")
    with pytest.raises(ValueError, match="lacks 2 tensors"):
        convert_checkpoint("fcpose", tmp_path / "in.pth", CONFIG)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"weight": Path("x")}, "hook": print}, tmp_path / "in.pth")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        convert_checkpoint("fcpose", tmp_path / "in.pth", CONFIG)


@pytest.mark.parametrize("below", ["", "bottom_up."])
def test_a_backbone_starts_another_model(tmp_path: Path, below: str) -> None:
    """With a feature pyramid, which stays behind, and without."""
    first = {"body.stem": torch.rand(2), "body.blocks.1.conv": torch.rand(3)}
    state = {f"backbone.{below}{name}": tensor for name, tensor in first.items()}
    pyramid = {"backbone.fpn_lateral3.weight": torch.rand(1)} if below else {}
    torch.save({"model": state | pyramid | {"head.weight": torch.rand(4)}}, tmp_path / "in.pth")
    assert write_backbone(str(tmp_path / "in.pth"), tmp_path / "new" / "out.pth") == 2
    written = torch.load(tmp_path / "new" / "out.pth", weights_only=True)["model"]
    assert written.keys() == first.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in first.items())
    # A model that has no last stage takes it, and one with a pyramid too.
    for prefix in ("backbone.", "backbone.bottom_up."):
        model = {f"{prefix}body.stem": torch.zeros(2), "decoder.weight": torch.zeros(1)}
        fitting = fit_weights(written, model, "out.pth", strict=False)
        assert list(fitting) == [f"{prefix}body.stem"]


def test_a_backbone_that_is_not_there_is_said(tmp_path: Path) -> None:
    torch.save({"model": {"head.weight": torch.rand(4)}}, tmp_path / "in.pth")
    with pytest.raises(UsageError, match=r"in\.pth must be a model of this project"):
        write_backbone(str(tmp_path / "in.pth"), tmp_path / "out.pth")
    with pytest.raises(UsageError, match=r"OUT .*in\.pth is read .*would be replaced"):
        write_backbone(str(tmp_path / "in.pth"), tmp_path / "in.pth")
    assert not (tmp_path / "out.pth").exists()


def test_weights_are_averaged_and_whole_numbers_are_the_last(tmp_path: Path) -> None:
    states = [{"a.weight": torch.rand(3, 2), "a.steps": torch.tensor(number)} for number in (4, 7, 5)]
    files = [tmp_path / f"{number}.pth" for number in range(3)]
    for state, file in zip(states, files, strict=True):
        torch.save({"model": state, "iteration": 1}, file)
    assert write_average([str(file) for file in files], tmp_path / "new" / "out.pth") == 2
    written = torch.load(tmp_path / "new" / "out.pth", weights_only=True)["model"]
    expected = (states[0]["a.weight"] + states[1]["a.weight"] + states[2]["a.weight"]) / 3
    torch.testing.assert_close(written["a.weight"], expected)
    assert written["a.weight"].dtype == torch.float32
    assert written["a.steps"].item() == 5


@pytest.mark.parametrize("other", [{"a.weight": torch.rand(3)}, {"b.weight": torch.rand(2)}, {}])
def test_models_that_differ_are_not_averaged(tmp_path: Path, other: dict[str, torch.Tensor]) -> None:
    one, two = str(tmp_path / "one.pth"), str(tmp_path / "two.pth")
    torch.save({"model": {"a.weight": torch.rand(2), "c": torch.rand(1)}}, one)
    torch.save({"model": other | {"c": torch.rand(1)}}, two)
    with pytest.raises(UsageError, match=r"two\.pth must have the same weights as .*a\.weight"):
        write_average([one, two], tmp_path / "out.pth")
    with pytest.raises(UsageError, match=r"OUT .*one\.pth is read .*would be replaced"):
        write_average([one, two], tmp_path / "one.pth")
    with pytest.raises(UsageError, match="two models or more"):
        write_average([one], tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_the_target_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posecore.checkpoint.convert.convert_checkpoint", lambda *_: {"a": torch.zeros(9)})
    out = tmp_path / "new" / "out.pth"
    assert convert_checkpoint_file("fcpose", tmp_path / "in.pth", out, CONFIG) == 1
    before = out.read_bytes()

    def save(content: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posecore.checkpoint.convert.save_content", save)
    with pytest.raises(OSError, match="No space"):
        convert_checkpoint_file("fcpose", tmp_path / "in.pth", out, CONFIG)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["out.pth"]
    with pytest.raises(UsageError, match=r"OUT .*out\.pth is read .*would be replaced"):
        convert_checkpoint_file("fcpose", out, tmp_path / "new" / ".." / "new" / "out.pth", CONFIG)
