"""Small trained-like models as files, and their exports, for tests."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from helpers.configs import SMALL_RESNET, load_cfg, override_list
from posecore.export.comparison import TOLERANCES
from posecore.export.images import drawn_images
from posecore.export.onnx_export import ExportReport, ExportSettings, export_onnx
from posecore.modeling.build import build_model
from posecore.structures.skeleton import load_skeleton

# Poseur without a decoder, on small crops: the smallest model that exports, in seconds.
TINY_POSEUR = {
    **SMALL_RESNET,
    "INPUT.CROPS.SIZE": (64, 48),
    "MODEL.POSEUR.NUM_LAYERS": 0,
    "MODEL.POSEUR.FLIP_FUSION": "none",
}
POSEUR = "poseur/R_50_256x192.yaml"
SETTINGS = ExportSettings("poses", "float32", TOLERANCES["float32"])


def weights_of(cfg: CfgNode, folder: Path) -> CfgNode:
    """The configuration with MODEL.WEIGHTS, a file of random weights that is written to the folder."""
    torch.manual_seed(0)
    file = folder / "model.pth"
    torch.save({"model": build_model(cfg).state_dict()}, file)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(file)
    return cfg


def tiny_poseur(folder: Path, *overrides: Any) -> CfgNode:
    """The configuration of a tiny Poseur with weights in the folder."""
    return weights_of(load_cfg(POSEUR, *override_list(TINY_POSEUR), *overrides), folder)


def export(cfg: CfgNode, file: Path, num_images: int = 2, **settings: Any) -> ExportReport:
    """Exports a model, checked on drawn figures."""
    images = drawn_images(load_skeleton(cfg.DATASETS.SKELETON), num_images, (120, 160))
    return export_onnx(cfg, file, images, dataclasses.replace(SETTINGS, **settings))
