"""The parts of the official code one by one: flow, losses, noise, scores, fusion, suppression."""

from pathlib import Path

import pytest
import torch
from helpers.poseur_oracle import Case, permutation
from torch import Tensor
from torch.testing import assert_close

from posecore.structures.oks import oks_nms
from posecore.structures.skeleton import load_skeleton
from poseur.flip import ScoredKeypoints, official_power_fusion
from poseur.noise import perturb
from poseur.prediction import Prediction
from poseur.rle import RealNVP, official_loss
from poseur.score import (
    InstanceScore,
    certainty,
    probability,
    sum_score,
    thresholded_product_score,
)


def flow_of(case: Case, name: str) -> RealNVP:
    """The filled flow "enc" or "dec"; theirs are called t and s."""
    flow = RealNVP(mean=0.5, init="default")
    for ours, parameter in flow.named_parameters():
        theirs = ours.replace("shift", "t").replace("log_scale", "s")
        values = case.fill.parameter(f"keypoint_head.{name}_flow.{theirs}", parameter.shape)
        parameter.data.copy_(torch.from_numpy(values))
    return flow


@pytest.fixture(scope="module")
def rle(shared: Path) -> Case:
    return Case(shared, "rle")


@pytest.mark.parametrize("name", ["enc", "dec"])
def test_flow(rle: Case, name: str) -> None:
    flow = flow_of(rle, name)
    latent, log_det = flow(rle.normal("poseur/rle/points", (64, 2), 2.0))
    rle.check(f"{name}_flow.z", latent)
    rle.check(f"{name}_flow.log_det", log_det)
    rle.check(f"{name}_flow.log_prob", flow.log_prob(rle.normal("poseur/rle/points", (64, 2), 2.0)))
    rle.check(f"{name}_flow.forward_of_z", flow.inverse(latent))


@pytest.mark.parametrize("kind", ["mixed", "ones", "zeros", "near"])
def test_loss_and_gradients(rle: Case, kind: str) -> None:
    golden, flow = rle.golden, flow_of(rle, "enc")
    near = "near." if kind == "near" else ""
    points = golden[f"{near}mu"].clone().requires_grad_()
    scales = golden[f"{near}sigma"].clone().requires_grad_()
    weights = {"ones": 1.0, "zeros": 0.0}.get(kind, golden["weight.mixed"][..., 0])
    total = (official_loss(Prediction(points, scales), golden["target"], flow) * weights).sum()
    (total / 51).backward()
    rle.check(f"loss.{kind}", total / 51)
    rle.check(f"loss_2022.{kind}", total / 3)
    rle.check(f"grad_mu.{kind}", points.grad)
    rle.check(f"grad_sigma.{kind}", scales.grad)
    networks = ("shift", "log_scale")  # in the order of their state dict
    norms = [p.grad.norm() for name in networks for p in flow.get_submodule(name).parameters()]
    rle.check(f"grad_flow.{kind}", torch.stack(norms))


def test_flow_at_the_errors(rle: Case) -> None:
    golden = rle.golden
    errors = (golden["mu"] - golden["target"]) / golden["sigma"]
    rle.check("term.log_phi", flow_of(rle, "enc").log_prob(errors)[..., None])


def test_layers(rle: Case) -> None:
    points = rle.uniform("poseur/rle/dec_mu", (2, 3, 68, 2), -0.1, 1.1)
    scales = rle.uniform("poseur/rle/dec_sigma", (2, 3, 68, 2), 0.02, 0.9)
    weights = rle.golden["weight.mixed"][..., 0].repeat(1, 4)
    target = rle.golden["target"].repeat(1, 4, 1).expand(2, -1, -1, -1)
    losses = official_loss(Prediction(points, scales), target, flow_of(rle, "dec")) * weights
    rle.check("dec_losses", losses.sum(dim=(1, 2)) / (3 * 68))


def test_noise(shared: Path) -> None:
    case = Case(shared, "noise")
    proposals, draw = case.golden["proposals"], case.golden["draw"]
    chosen = case.golden["permutation"][:12]
    noisy = perturb(proposals, chosen, draw.flatten(1, 2), groups=3)
    case.check("noisy", noisy.flatten(1, 2))
    assert torch.equal(chosen, permutation(case, "poseur/train/perm", 51)[:12])


@pytest.fixture(scope="module")
def score(shared: Path) -> Case:
    return Case(shared, "score")


def test_scores_of_keypoints(score: Case) -> None:
    scales = score.golden["sigma"]
    score.check("axis", 1 - torch.exp(-0.2 / scales))
    score.check("eq8", probability(scales))
    score.check("official", probability(scales, factor=0.7))
    score.check("default", certainty(scales))


def test_fusion(score: Case) -> None:
    points = score.uniform("poseur/score/kpt", (2, 4, 11, 2))
    scores = probability(score.uniform("poseur/score/sigma", (2, 4, 11, 2), 0.02, 0.9), factor=0.7)
    fused = official_power_fusion(*(ScoredKeypoints(*pair) for pair in zip(points, scores, strict=True)))
    score.check("fuse.keypoints", fused.points)
    score.check("fuse.score", fused.scores)


def test_persons_and_suppression(score: Case) -> None:
    golden = score.golden
    poses, boxes = golden["nms.poses"], golden["nms.box_score"]
    scores = sum_score(boxes, poses[..., 2])
    score.check("nms.rle_score", scores)
    score.check("nms.product_score", thresholded_product_score(boxes, poses[..., 2]))
    sigmas = torch.tensor(load_skeleton("coco_17").sigmas)
    for name, threshold in (("nms.keep", 0.9), ("nms.keep_05", 0.5)):
        kept = oks_nms(poses[..., :2], scores, golden["nms.area"], sigmas, threshold)
        assert kept.tolist() == golden[name].tolist()


@pytest.mark.parametrize(
    ("name", "instance_score"), [("rle_score", sum_score), ("product", thresholded_product_score)]
)
def test_persons_of_a_data_set(shared: Path, name: str, instance_score: InstanceScore) -> None:
    case = Case(shared, "coco")
    golden = case.golden
    poses, boxes = golden["preds"], golden["boxes"]
    scores = instance_score(boxes[:, 5], poses[..., 2])
    found: list[Tensor] = []
    images: list[int] = []
    sigmas = torch.tensor(load_skeleton("coco_17").sigmas)
    for image in dict.fromkeys(golden["image_id"].tolist()):
        own = (golden["image_id"] == image).nonzero()[:, 0]
        kept = own[oks_nms(poses[own, :, :2], scores[own], boxes[own, 4], sigmas, 0.9)]
        found.append(scores[kept])
        images += [image] * len(kept)
    expected = sorted(zip(golden[f"{name}.image_id"].tolist(), golden[f"{name}.score"].tolist(), strict=True))
    ours = sorted(zip(images, torch.cat(found).tolist(), strict=True))
    assert [image for image, _ in ours] == [image for image, _ in expected]
    assert_close(torch.tensor([s for _, s in ours]), torch.tensor([s for _, s in expected]))
