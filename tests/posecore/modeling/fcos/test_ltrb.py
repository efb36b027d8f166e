"""Boxes as ltrb distances: conversion, centerness and generalized IoU."""

import torch
from torch.testing import assert_close
from torchvision.ops import generalized_box_iou

from posecore.modeling.fcos.decode import ltrb_to_box
from posecore.modeling.fcos.losses import generalized_iou
from posecore.modeling.fcos.targets import box_to_ltrb, centerness


def test_round_trip() -> None:
    points, boxes = torch.rand(20, 2) * 50, torch.rand(20, 4) * 50
    assert_close(ltrb_to_box(points, box_to_ltrb(points, boxes)), boxes)


def test_centerness_by_hand() -> None:
    ltrb = torch.tensor([[5.0, 5.0, 5.0, 5.0], [1.0, 4.0, 4.0, 1.0], [2.0, 3.0, 8.0, 3.0]])
    assert_close(centerness(ltrb), torch.tensor([1.0, 0.25, 0.5]))


def test_generalized_iou_equals_that_of_torchvision() -> None:
    a, b = torch.rand(50, 4) * 30, torch.rand(50, 4) * 30
    point = torch.full((50, 2), 100.0)
    expected = generalized_box_iou(ltrb_to_box(point, a), ltrb_to_box(point, b)).diagonal()
    assert_close(generalized_iou(a, b), expected, atol=1e-5, rtol=1e-5)


def test_smoothing_adds_area_to_intersection_and_union() -> None:
    a, b = torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([[2.0, 1.0, 2.0, 1.0]])
    assert_close(generalized_iou(a, b, smoothing=1.0), torch.tensor([(4 + 1) / (8 + 1)]))


def test_boxes_without_area_keep_gradients_finite() -> None:
    ltrb = torch.zeros(1, 4, requires_grad=True)
    iou = generalized_iou(ltrb, torch.zeros(1, 4))
    iou.sum().backward()
    assert_close(iou.detach(), torch.zeros(1))
    assert ltrb.grad.isfinite().all()
