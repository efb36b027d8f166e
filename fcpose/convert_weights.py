"""Conversion of FCPose weights: :func:`convert` renames the parameters of the official code (AdelaiDet)."""

import torch
from torch import Tensor

_DETECTOR = "proposal_generator.fcos.fcos_head"
_BASIS = "proposal_generator.basis_module"
_HEAD = "proposal_generator.fcpose_head"
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# Buffers that only older checkpoints have; here their values come from the configuration.
_OPTIONAL = ("pixel_mean", "pixel_std")


def _names() -> dict[str, str]:
    """Official names of the head parameters whose tensors are kept as they are -> the names here."""
    names = {}
    for official, ours in (("cls_tower", "cls"), ("bbox_tower", "box")):
        for layer in (0, 1, 3, 4, 6, 7, 9, 10):
            for leaf in ("weight", "bias"):
                names[f"{_DETECTOR}.{official}.{layer}.{leaf}"] = (
                    f"detector.head.towers.{ours}.{layer}.{leaf}"
                )
    for official, ours in (("cls_logits", "cls"), ("bbox_pred", "ltrb"), ("ctrness", "centerness")):
        for leaf in ("weight", "bias"):
            names[f"{_DETECTOR}.{official}.{leaf}"] = f"detector.head.predictions.{ours}.conv.{leaf}"
    blocks = {f"refine.{level}": (f"shared_branch.basis.refine.{level}", 0) for level in range(3)}
    blocks |= {f"tower.{block}": ("shared_branch.basis.tower", 3 * block) for block in range(4)}
    blocks |= {f"seg_head.{block}": ("auxiliary.tower", 3 * block) for block in range(2)}
    for official, (ours, layer) in blocks.items():
        names[f"{_BASIS}.{official}.0.weight"] = f"{ours}.{layer}.weight"
        for leaf in _NORM:
            names[f"{_BASIS}.{official}.1.{leaf}"] = f"{ours}.{layer + 1}.{leaf}"
    for official, ours in (("p3_logits", "coarse"), ("upsampler.0", "upsample"), ("p1_logits", "fine")):
        for leaf in ("weight", "bias"):
            names[f"{_BASIS}.{official}.{leaf}"] = f"auxiliary.{ours}.{leaf}"
    names[f"{_HEAD}.atten_producer.bias"] = "keypoint_head.controller.bias"
    return names


_SAME = _names()
_SCALES = tuple(f"{_DETECTOR}.scales.{level}.scale" for level in range(5))
_LAST = tuple(f"{_BASIS}.tower.4.{leaf}" for leaf in ("weight", "bias"))
_GENERATOR = f"{_HEAD}.atten_producer.weight"
_RANGES = f"{_HEAD}.sizes_of_interest"
_KNOWN = {*_SAME, *_SCALES, *_LAST, _GENERATOR, _RANGES}


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of an official state dict, for a model of configs/fcpose/official.

    Args:
        state: an official state dict. Names of the backbone are the same in both codes and are not checked
            here. pixel_mean and pixel_std are left out.

    Raises:
        ValueError: tensors of the official heads are missing, or some names belong to none of them; the
            message shows the first five.
    """
    backbone = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    heads = {name: state[name] for name in state if name not in backbone and name not in _OPTIONAL}
    if missing := sorted(_KNOWN - heads.keys()):
        raise ValueError(f"not an official FCPose checkpoint: it lacks {len(missing)} tensors: {missing[:5]}")
    if unknown := sorted(heads.keys() - _KNOWN):
        raise ValueError(f"{len(unknown)} tensors have names that no FCPose checkpoint has: {unknown[:5]}")

    converted = backbone | {ours: heads[official] for official, ours in _SAME.items()}
    converted["detector.head.predictions.ltrb.scales"] = torch.cat(
        [heads[name].reshape(1) for name in _SCALES]
    )
    converted["keypoint_head.ranges"] = heads[_RANGES]
    # A linear layer on 3x3 patches is a 3x3 convolution.
    channels = heads[f"{_DETECTOR}.bbox_pred.weight"].shape[1]
    converted["keypoint_head.controller.weight"] = heads[_GENERATOR].unflatten(1, (channels, 3, 3))
    # The last convolution of the official tower gives F and then the offsets; here they are two convolutions.
    num_offsets = 2 * len(heads[f"{_BASIS}.p3_logits.bias"])
    for name in _LAST:
        leaf = name.rpartition(".")[2]
        bases, offsets = heads[name].split([len(heads[name]) - num_offsets, num_offsets])
        converted[f"shared_branch.bases.{leaf}"] = bases
        converted[f"shared_branch.offsets.conv.{leaf}"] = offsets
    return converted
