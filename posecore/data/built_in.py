"""The built-in datasets and the places of their files (datasets/README.md): :data:`BUILT_IN`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BuiltIn:
    """A built-in dataset; paths are relative to the folder in the environment's DETECTRON2_DATASETS."""

    annotations: str
    images: str
    skeleton: str
    format: str = "coco"
    ground_truth: str | None = None


BUILT_IN = {
    # Detectron2 registers only the keypoint splits that have annotations.
    "keypoints_coco_2017_test": BuiltIn(
        "coco/annotations/image_info_test2017.json", "coco/test2017", "coco_17"
    ),
    "keypoints_coco_2017_test-dev": BuiltIn(
        "coco/annotations/image_info_test-dev2017.json", "coco/test2017", "coco_17"
    ),
    **{
        f"crowdpose_{split}": BuiltIn(
            f"crowdpose/annotations/crowdpose_{split}.json", "crowdpose/images", "crowdpose_14", "crowdpose"
        )
        for split in ("train", "val", "trainval", "test")
    },
    **{
        f"coco_wholebody_{split}": BuiltIn(
            f"coco/annotations/coco_wholebody_{split}_v1.0.json",
            f"coco/{split}2017",
            "coco_wholebody_133",
            "coco_wholebody",
        )
        for split in ("train", "val")
    },
    **{
        f"mpii_{split}": BuiltIn(
            f"mpii/annotations/mpii_{split}.json", "mpii/images", "mpii_16", "mpii", ground_truth
        )
        for split, ground_truth in (("train", None), ("val", "mpii/annotations/mpii_gt_val.mat"))
    },
    # As datasets/prepare_lspet.py writes them.
    **{
        f"lspet_{split}": BuiltIn(f"lspet/{split}.json", "lspet/images", "lsp_14", "pck")
        for split in ("train", "test")
    },
}
