"""Jointed figures in random poses: the persons of the synthetic images.

A figure is a stack of capsules with colors, and its K keypoints. x points right, y down; the unit is
about the height of a standing figure. Figures face the viewer: the left of a person is on the right.
"""

import colorsys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from posecore.structures.skeleton import Skeleton

Color = tuple[float, float, float]

# Colors of the limbs, RGB: warm ones on the left of the person, cool ones on the right.
_LIMBS: dict[str, dict[str, Color]] = {
    "left": {
        "upper_arm": (220, 45, 45),
        "forearm": (250, 150, 30),
        "thigh": (185, 35, 150),
        "shin": (250, 130, 185),
    },
    "right": {
        "upper_arm": (40, 70, 220),
        "forearm": (30, 190, 240),
        "thigh": (20, 125, 70),
        "shin": (150, 210, 50),
    },
}
_EARS: dict[str, Color] = {"left": (250, 190, 60), "right": (90, 170, 250)}
_EYES: dict[str, Color] = {"left": (130, 10, 10), "right": (10, 10, 130)}
_JOINT: Color = (250, 245, 225)
_NOSE: Color = (60, 30, 20)
_SHOE: Color = (35, 30, 35)


@dataclass(frozen=True)
class Capsule:
    """All points within a radius of a segment; the radius changes linearly along it.

    Attributes:
        start: (x, y). If it equals ``end``, the capsule is a disc.
        end: (x, y).
        radii: at start and end.
        color: RGB, 0-255.
    """

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]
    color: Color


@dataclass(frozen=True)
class Figure:
    """A drawn person.

    Attributes:
        keypoints: (K, 2).
        capsules: the body, from back to front.
    """

    keypoints: np.ndarray
    capsules: list[Capsule]

    def placed(self, origin: np.ndarray, scale: float) -> "Figure":
        """The figure scaled by ``scale``, with its origin moved to ``origin``."""
        return Figure(
            self.keypoints * scale + origin,
            [
                Capsule(
                    part.start * scale + origin,
                    part.end * scale + origin,
                    (part.radii[0] * scale, part.radii[1] * scale),
                    part.color,
                )
                for part in self.capsules
            ],
        )

    def extent(self) -> np.ndarray:
        """x1, y1, x2, y2 of the body."""
        ends = np.array([[part.start, part.end] for part in self.capsules])
        radii = np.array([part.radii for part in self.capsules])[..., None]
        return np.concatenate([(ends - radii).min(axis=(0, 1)), (ends + radii).max(axis=(0, 1))])


def figure_maker(skeleton: Skeleton) -> Callable[[np.random.Generator], Figure]:
    """A function that makes random figures of a skeleton.

    They are human bodies if all keypoints of the skeleton are joints of one, otherwise abstract shapes made
    of the skeleton's limbs.
    """
    if is_body(skeleton):
        return lambda rng: dressed(body_joints(_random_pose(rng)), skeleton, rng)
    template = _template(skeleton)
    return lambda rng: _abstract(rng, skeleton, template)


def _direction(angle: float) -> np.ndarray:
    """The unit vector at an angle (degrees) from straight down towards the right."""
    return np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])


@dataclass(frozen=True)
class Side:
    """The arm and the leg of one side of a body. Angles are in degrees.

    Attributes:
        arm: from straight down, outwards.
        bend: of the elbow, added to the arm's angle.
        leg: of the thigh, from straight down, outwards.
        shin: likewise.
        shares: of the lengths of upper arm, forearm, thigh and shin that are seen; below 1 where one points
            towards the camera.
    """

    arm: float
    bend: float
    leg: float
    shin: float
    shares: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class BodyPose:
    """The pose of a human body. Angles are in degrees.

    Attributes:
        lean: of the trunk, to the right.
        tilt: of the head against the trunk, to the right.
        yaw: to which side the body is turned, 0 for the viewer.
        neck: length from pelvis to neck.
        sides: left and right of the person.
    """

    lean: float
    tilt: float
    yaw: float
    neck: float
    sides: Mapping[str, Side]


def body_joints(pose: BodyPose) -> dict[str, np.ndarray]:
    """The joints of a human body, by the names of the built-in skeletons; the pelvis is at (0, 0)."""
    lean, tilt, yaw = pose.lean, pose.tilt, np.radians(pose.yaw)
    up, across = -_direction(-lean), _direction(90 - lean)
    head_up, head_across = -_direction(-lean - tilt), _direction(90 - lean - tilt)
    joints: dict[str, np.ndarray] = {"pelvis": np.zeros(2)}
    joints["neck"] = joints["thorax"] = up * pose.neck
    joints["upper_neck"] = joints["neck"] + up * 0.03
    joints["head"] = joints["neck"] + head_up * 0.125
    joints["head_top"] = joints["top_head"] = joints["head"] + head_up * 0.09
    forward = head_across * np.sin(yaw)
    joints["nose"] = joints["head"] + forward * 0.07 - head_up * 0.015
    for side, sign in (("left", 1), ("right", -1)):
        outward = across * sign * np.cos(yaw)
        head_outward = head_across * sign * np.cos(yaw)
        joints[f"{side}_eye"] = joints["head"] + forward * 0.05 + head_outward * 0.042 + head_up * 0.025
        joints[f"{side}_ear"] = joints["head"] - forward * 0.02 + head_outward * 0.092
        joints[f"{side}_shoulder"] = joints["neck"] - up * 0.035 + outward * 0.125
        joints[f"{side}_hip"] = outward * 0.08
        limbs = pose.sides[side]
        for (start, end, length, angle), share in zip(
            (
                ("shoulder", "elbow", 0.17, limbs.arm),
                ("elbow", "wrist", 0.16, limbs.arm + limbs.bend),
                ("hip", "knee", 0.23, limbs.leg),
                ("knee", "ankle", 0.22, limbs.shin),
            ),
            limbs.shares,
            strict=True,
        ):
            bone = _direction(sign * angle - lean) * length * share
            joints[f"{side}_{end}"] = joints[f"{side}_{start}"] + bone
    return joints


def is_body(skeleton: Skeleton) -> bool:
    """Whether all keypoints of a skeleton are joints of a human body."""
    return set(skeleton.keypoints) <= set(body_joints(_random_pose(np.random.default_rng(0))))


def _random_pose(rng: np.random.Generator) -> BodyPose:
    lean, tilt, yaw = rng.normal(0, 8), rng.normal(0, 10), rng.uniform(-55, 55)
    neck = rng.uniform(0.28, 0.32)
    return BodyPose(lean, tilt, yaw, neck, {side: _random_side(rng) for side in ("left", "right")})


def _random_side(rng: np.random.Generator) -> Side:
    arm = rng.uniform(-15, 75) if rng.random() < 0.7 else rng.uniform(75, 165)
    bend = rng.uniform(-20, 120)
    leg = rng.uniform(-8, 40)
    shin = leg - rng.uniform(-5, 50)
    upper_arm, forearm, thigh, lower_leg = rng.uniform(0.8, 1, 4)
    return Side(arm, bend, leg, shin, (upper_arm, forearm, thigh, lower_leg))


def dressed(joints: Mapping[str, np.ndarray], skeleton: Skeleton, rng: np.random.Generator) -> Figure:
    """The figure of a body with random colors and a random order of its sides.

    Args:
        joints: of the body, by their names (:func:`body_joints`).
        skeleton: chooses the keypoints among them.
        rng: of the colors; one with the same seed makes the same person of another pose.
    """
    shirt = tuple(rng.uniform(40, 200, 3))
    skin = tuple(np.array([235, 190, 150]) * rng.uniform(0.45, 1))
    legs, arms, dots = [], [], []
    for side in rng.permutation(["left", "right"]):
        legs += [
            _bone(joints, f"{side}_hip", f"{side}_knee", (0.062, 0.05), _LIMBS[side]["thigh"]),
            _bone(joints, f"{side}_knee", f"{side}_ankle", (0.05, 0.038), _LIMBS[side]["shin"]),
            _dot(joints, f"{side}_ankle", 0.042, _SHOE),
        ]
        arms += [
            _bone(joints, f"{side}_shoulder", f"{side}_elbow", (0.048, 0.042), _LIMBS[side]["upper_arm"]),
            _bone(joints, f"{side}_elbow", f"{side}_wrist", (0.042, 0.034), _LIMBS[side]["forearm"]),
            _dot(joints, f"{side}_wrist", 0.038, skin),
        ]
        dots += [
            _dot(joints, f"{side}_{name}", 0.024, _JOINT) for name in ("shoulder", "elbow", "hip", "knee")
        ]
    torso = [
        _bone(joints, "left_shoulder", "left_hip", (0.06, 0.062), shirt),
        _bone(joints, "right_shoulder", "right_hip", (0.06, 0.062), shirt),
        _bone(joints, "neck", "pelvis", (0.07, 0.085), shirt),
    ]
    head = [
        _bone(joints, "neck", "head", (0.045, 0.045), skin),
        *(_dot(joints, f"{side}_ear", 0.03, _EARS[side]) for side in ("left", "right")),
        _dot(joints, "head", 0.092, skin),
        *(_dot(joints, f"{side}_eye", 0.03, (255, 255, 255)) for side in ("left", "right")),
        *(_dot(joints, f"{side}_eye", 0.017, _EYES[side]) for side in ("left", "right")),
        _dot(joints, "nose", 0.018, _NOSE),
    ]
    keypoints = np.stack([joints[name] for name in skeleton.keypoints])
    return Figure(keypoints, legs + torso + arms + dots + head)


def _bone(
    joints: Mapping[str, np.ndarray], start: str, end: str, radii: tuple[float, float], color: Color
) -> Capsule:
    return Capsule(joints[start], joints[end], radii, color)


def _dot(joints: Mapping[str, np.ndarray], name: str, radius: float, color: Color) -> Capsule:
    return Capsule(joints[name], joints[name], (radius, radius), color)


def _template(skeleton: Skeleton) -> np.ndarray:
    """(K, 2): a symmetric shape for any skeleton, with the two keypoints of a limb close to each other.

    Middle keypoints and flip pairs are placed from top to bottom in the order of the limb graph; pairs are
    left and right of the axis, at varying distances.
    """
    points = np.zeros((skeleton.num_keypoints, 2))
    order = list(_graph_order(skeleton))
    rows = [k for k in order if skeleton.sides[k] != "right"]
    for row, k in enumerate(rows):
        y = (row + 0.5) / len(rows)
        x = 0.12 + 0.2 * abs((0.618 * row) % 2 - 1)
        partner = skeleton.flip_indices[k]
        points[k] = (x if partner != k else 0.0, y)
        points[partner] = (-points[k, 0], y)
    return points


def _graph_order(skeleton: Skeleton) -> Iterator[int]:
    """All keypoints, in breadth-first order along the limbs."""
    seen: set[int] = set()
    for root in range(skeleton.num_keypoints):
        queue = deque([root])
        while queue:
            k = queue.popleft()
            if k not in seen:
                seen.add(k)
                yield k
                queue.extend(b if a == k else a for a, b in skeleton.limb_indices if k in (a, b))


def _abstract(rng: np.random.Generator, skeleton: Skeleton, template: np.ndarray) -> Figure:
    """The template with random bend, shear, rotation and noise."""
    x, y = template.T
    x = x * rng.uniform(0.7, 1.3) + rng.uniform(-0.1, 0.1) * np.sin(np.pi * (y + rng.random()))
    points = np.stack([x + rng.normal(0, 0.15) * y, y], axis=1)
    spacing = 1 / np.sqrt(skeleton.num_keypoints)
    points += rng.normal(0, 0.06 * spacing, points.shape)
    turn = _direction(rng.normal(0, 12))
    points = points @ np.array([[turn[1], -turn[0]], [turn[0], turn[1]]])
    colors = [_color(skeleton, k) for k in range(skeleton.num_keypoints)]
    thick = 0.1 * spacing
    limbs = [
        Capsule(points[a], points[b], (thick, thick), tuple((np.array(colors[a]) + colors[b]) / 2))
        for a, b in skeleton.limb_indices
    ]
    dots = [Capsule(point, point, (1.5 * thick,) * 2, colors[k]) for k, point in enumerate(points)]
    return Figure(points, limbs + dots)


def _color(skeleton: Skeleton, k: int) -> Color:
    """The color of a keypoint: warm on the left, cool on the right, green in the middle."""
    base = {"left": -0.08, "middle": 0.25, "right": 0.5}[skeleton.sides[k]]
    rank = min(k, skeleton.flip_indices[k])
    hue = base + 0.22 * ((0.618 * rank) % 1)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, 0.95, 0.65 + 0.35 * ((0.381 * rank) % 1))
    return 255 * red, 255 * green, 255 * blue
