"""The drawn images that training steps are timed on."""

import pytest

from posecore.benchmarks.training import DrawnImages, benchmark_cfg, labeled_batch


@pytest.mark.parametrize(
    ("config", "keypoints"),
    [("", 17), ("fcpose/lspet/Lite0.yaml", 14), ("poseur/wholebody/R_50_256x192.yaml", 133)],
)
def test_images_have_the_skeleton_of_the_configuration(config: str, keypoints: int) -> None:
    """All of them at once, because models of several skeletons are timed beside each other."""
    images = DrawnImages(2, (96, 128), 3)
    with images.written(["fcpose/lspet/Lite0.yaml", "poseur/wholebody/R_50_256x192.yaml"]) as folder:
        batch = labeled_batch(benchmark_cfg(config, folder, "cpu"))
    is_crops = "crops" in batch[0]
    assert len(batch) == (6 if is_crops else 2)
    for sample in batch:
        assert len(sample["instances"]) == (1 if is_crops else 3)
        assert sample["instances"].gt_keypoints.tensor.shape[1:] == (keypoints, 3)
        if not is_crops:
            assert sample["image"].shape[1:] == (96, 128)
