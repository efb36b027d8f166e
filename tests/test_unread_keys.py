"""Overrides that the method or the samples of a configuration do not read."""

from pathlib import Path

import pytest

from posecore.checkpoint.errors import CheckpointError
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import REPOSITORY
from posecore.data.samples import build_samples
from posecore.engine.train import train_or_evaluate
from posecore.engine.unread_keys import unread_overrides
from posecore.modeling.build import build_model
from poseur.samples import PersonCropSamples

FCPOSE, POSEUR = "fcpose/lspet/Lite0", "poseur/lspet/Lite0_stride16_128x128"


def unread(config: str, *overrides: str) -> list[str]:
    cfg = merge_config(get_cfg(), REPOSITORY / f"configs/{config}.yaml", overrides)
    return unread_overrides(cfg, overrides)


@pytest.mark.parametrize(
    ("config", "key", "value", "reason"),
    [
        (FCPOSE, "MODEL.POSEUR.WIDTH", "32", "FCPose does not read it, it is of poseur"),
        (FCPOSE, "INPUT.CROPS.ROTATION.PROB", "0.5", "FCPose does not read it, it is of poseur"),
        (POSEUR, "MODEL.FCPOSE.REFINEMENT", "none", "Poseur does not read it, it is of fcpose"),
        (POSEUR, "INPUT.ROTATION_PROB", "0.5", "INPUT.SAMPLES 'person_crops' does not read it"),
        (POSEUR, "INPUT.COLOR.BRIGHTNESS", "0.2", "INPUT.SAMPLES 'person_crops' does not read it"),
    ],
)
def test_an_override_without_effect(config: str, key: str, value: str, reason: str) -> None:
    sentences = unread(config, "SEED", "1", key, value)
    assert sentences == [f"{key} on the command line has no effect: {reason}"]


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        (FCPOSE, ("MODEL.FCPOSE.REFINEMENT", "none", "INPUT.ROTATION", "10.0", "MODEL.FCOS.NUM_CONVS", "1")),
        (POSEUR, ("MODEL.POSEUR.WIDTH", "32", "INPUT.CROPS.ROTATION.PROB", "0.5", "INPUT.FORMAT", "BGR")),
        ("poseur/rcnn/HRNet_W48", ("MODEL.POSEUR.WIDTH", "32", "INPUT.MIN_SIZE_TEST", "100")),
        # Not a model of this project: it may have the head of any method.
        (FCPOSE, ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.POSEUR.WIDTH", "32")),
    ],
)
def test_overrides_with_effect(config: str, overrides: tuple[str, ...]) -> None:
    assert unread(config, *overrides) == []


def test_crops_need_none_of_their_unread_keys() -> None:
    cfg = merge_config(get_cfg(), REPOSITORY / f"configs/{POSEUR}.yaml", ["MODEL.WEIGHTS", ""])
    cfg.defrost()
    for key in PersonCropSamples.unread_keys:
        section, name = key.rsplit(".", 1)
        assert section == "INPUT"
        del cfg.INPUT[name]
    build_samples(cfg)
    build_model(cfg)


def test_an_evaluation_says_it(tmp_path: Path) -> None:
    overrides = ["MODEL.POSEUR.WIDTH", "32", "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(tmp_path / "run")]
    with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHTS"):
        train_or_evaluate(str(REPOSITORY / f"configs/{FCPOSE}.yaml"), overrides, eval_only=True)
    assert "MODEL.POSEUR.WIDTH on the command line has no effect" in (tmp_path / "run/log.txt").read_text()
