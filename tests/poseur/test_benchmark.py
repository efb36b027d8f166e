"""The benchmark on crops: it compares Poseur with RLE and does the whole work of both."""

import pytest

from poseur.benchmark import MODELS, build, predict, train


@pytest.mark.long
def test_poseur_is_measured_beside_rle():
    baseline, model = (build(name, "cpu") for name in list(MODELS)[:2])
    assert dict(baseline.pose_losses.named_children()).keys() == {"coarse"}
    assert dict(model.pose_losses.named_children()).keys() == {"coarse", "decoder"}
    train(model, 2)()
    assert model.network.neck.levels[0][0].weight.grad is not None
    assert len(predict(model, 3)()[0]["instances"].pred_keypoints) >= 1
