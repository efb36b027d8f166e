"""Draws films of walking figures, with ground truth of their identities: :func:`animate`, :func:`make_film`.

    python -m posecore.data.synthetic.motion --out DIR --frames 250 --people 4 --size 240 320

Each person walks to and fro between two places outside the image, at a speed of its own: persons cross in
front of each other, leave the image and come back. Films depend on the arguments alone.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posecore.data.image_writer import write_image
from posecore.data.synthetic.command_line import drawing_parser
from posecore.data.synthetic.figures import (
    BodyPose,
    Figure,
    Side,
    body_joints,
    dressed,
    figure_maker,
    is_body,
)
from posecore.data.synthetic.images import annotate, draw_background, draw_figure
from posecore.structures.skeleton import Skeleton, load_skeleton

# Double steps per second; how far legs and arms swing, how far knees and elbows bend, and how far a body is
# turned to where it walks, degrees.
_STEPS = 1.0
_LEG_SWING, _ARM_SWING, _KNEE, _ELBOW, _TURN = 24.0, 28.0, 22.0, 15.0, 55.0


@dataclass(frozen=True)
class Walks:
    """How persons walk.

    Attributes:
        people: how many there are.
        scale: least and greatest height of a person, as a share of the image's height.
        speed: least and greatest speed, in widths of the image per second.
        beyond: how far outside the image a person turns around, as a share of the image's width; 0 for
            persons who never leave it wholly.
    """

    people: int = 4
    scale: tuple[float, float] = (0.45, 0.75)
    speed: tuple[float, float] = (0.15, 0.4)
    beyond: float = 0.25


DEFAULT = Walks()


@dataclass(frozen=True)
class FilmFrame:
    """An image of a film.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        time: seconds from the first image.
        people: the annotations in COCO's format of the persons of whom something is seen, with a ``track_id``
            from 1, the same for the same person, and without ``id`` and ``image_id``.
        keypoints: (n, K, 2) of the same persons, continuous pixels; they may be outside the image.
    """

    image: np.ndarray
    time: float
    people: list[dict[str, Any]]
    keypoints: np.ndarray


@dataclass(frozen=True)
class _Walker:
    """A person.

    Attributes:
        figure: makes the figure of a phase of its steps, radians, and a direction, 1 for right and -1 for
            left; its height is about 1.
        height: pixels.
        ground: the y of its pelvis, pixels.
        turns: least and greatest x of its pelvis, pixels.
        speed: pixels per second.
        start: how far it has walked before the film, pixels.
    """

    figure: Callable[[float, int], Figure]
    height: float
    ground: float
    turns: tuple[float, float]
    speed: float
    start: float

    def at(self, time: float) -> Figure:
        """The figure in the image at a time, seconds."""
        low, high = self.turns
        there, back = divmod(self.start + self.speed * time, high - low)
        direction = 1 if there % 2 == 0 else -1
        x = low + back if direction == 1 else high - back
        phase = 2 * np.pi * _STEPS * time + self.start
        return self.figure(phase, direction).placed(np.array([x, self.ground]), self.height)


def animate(
    *,
    num_frames: int,
    rate: float = 25.0,
    size: tuple[int, int] = (240, 320),
    skeleton: Skeleton,
    seed: int = 0,
    walks: Walks = DEFAULT,
) -> Iterator[FilmFrame]:
    """The images of a film of walking figures.

    Args:
        num_frames: how many.
        rate: images per second.
        size: height and width, pixels.
        skeleton: of the figures; a body walks, and any other shape sways.
        seed: any integer from 0.
        walks: how persons walk.
    """
    rng = np.random.default_rng([seed, walks.people])
    walkers = [_walker(rng, skeleton, size, walks) for _ in range(walks.people)]
    # Larger persons are nearer, so they are drawn last.
    walkers.sort(key=lambda walker: walker.height)
    background = draw_background(rng, size)
    lights = rng.integers(2**32, size=walks.people)
    for number in range(num_frames):
        time = number / rate
        image = background.copy()
        cover = np.full(size, -1)
        figures = [walker.at(time) for walker in walkers]
        bodies = [
            draw_figure(np.random.default_rng(light), image, cover, figure, index)
            for index, (figure, light) in enumerate(zip(figures, lights, strict=True))
        ]
        seen = [index for index in range(len(figures)) if (cover == index).any()]
        people = [
            annotate(figures[index], bodies[index], cover == index) | {"track_id": index + 1}
            for index in seen
        ]
        keypoints = np.array([figures[index].keypoints for index in seen])
        yield FilmFrame(
            image.clip(0, 255).astype(np.uint8),
            time,
            people,
            keypoints.reshape(len(seen), skeleton.num_keypoints, 2),
        )


def make_film(
    folder: str | Path,
    *,
    num_frames: int,
    rate: float = 25.0,
    size: tuple[int, int] = (240, 320),
    skeleton: str | Path = "coco_17",
    seed: int = 0,
    walks: Walks = DEFAULT,
) -> Path:
    """Writes a film, its images and its ground truth.

    Args:
        folder: gets film.mp4, images/ and film.json, the ground truth in COCO's format for videos: images
            have ``video_id``, ``frame_id`` from 0 and ``time`` in seconds, annotations ``track_id``.
        num_frames, rate, size, seed, walks: as for :func:`animate`.
        skeleton: name or YAML path; :func:`posecore.structures.skeleton.load_skeleton`.

    Returns:
        The path of film.json.

    Raises:
        ValueError: the film cannot be written.
    """
    folder = Path(folder)
    kind = load_skeleton(skeleton)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    film = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate, size[::-1])
    if not film.isOpened():
        raise ValueError(f"the film {folder / 'film.mp4'} cannot be written: is its folder writable?")
    images: list[dict] = []
    annotations: list[dict] = []
    frames = animate(num_frames=num_frames, rate=rate, size=size, skeleton=kind, seed=seed, walks=walks)
    for number, frame in enumerate(frames):
        name = f"images/{number:06d}.jpg"
        write_image(folder / name, frame.image)
        film.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        image = {"id": number + 1, "video_id": 1, "frame_id": number, "time": frame.time, "file_name": name}
        images.append(image | {"height": size[0], "width": size[1]})
        for person in frame.people:
            identity = {"id": len(annotations) + 1, "image_id": number + 1, "video_id": 1, "category_id": 1}
            annotations.append(identity | person)
    film.release()
    limbs = [[a + 1, b + 1] for a, b in kind.limb_indices]
    content = {
        "videos": [{"id": 1, "name": "film.mp4", "width": size[1], "height": size[0]}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(kind.keypoints), "skeleton": limbs},
        ],
    }
    path = folder / "film.json"
    path.write_text(json.dumps(content))
    return path


def _walker(rng: np.random.Generator, skeleton: Skeleton, size: tuple[int, int], walks: Walks) -> _Walker:
    height = rng.uniform(*walks.scale) * size[0]
    margin = walks.beyond * size[1]
    turns = (-margin, size[1] + margin)
    # A nearer person is larger and stands lower in the image.
    ground = size[0] * (0.5 + 0.1 * (height / size[0] - 0.5)) + rng.uniform(-0.03, 0.03) * size[0]
    speed = rng.uniform(*walks.speed) * size[1]
    start = rng.uniform(0, 2 * (turns[1] - turns[0]))
    return _Walker(_figure(rng, skeleton), height, ground, turns, speed, start)


def _figure(rng: np.random.Generator, skeleton: Skeleton) -> Callable[[float, int], Figure]:
    """The figures of one person in all phases of its steps."""
    look = int(rng.integers(2**32))
    lean, neck = rng.uniform(0, 5), rng.uniform(0.28, 0.32)

    def walking(phase: float, direction: int) -> Figure:
        legs, arms = _LEG_SWING * np.sin(phase), -_ARM_SWING * np.sin(phase)
        # The knee bends backwards while its leg swings forward, and the elbows bend forward.
        left, right = (_KNEE * max(0.0, sign * np.cos(phase)) for sign in (direction, -direction))
        sides = {
            "left": Side(arms, direction * _ELBOW, legs, legs - direction * left),
            "right": Side(arms, -direction * _ELBOW, legs, legs + direction * right),
        }
        pose = BodyPose(direction * lean, 0, direction * _TURN, neck, sides)
        return dressed(body_joints(pose), skeleton, np.random.default_rng(look))

    shape = figure_maker(skeleton)(np.random.default_rng(look))

    def swaying(phase: float, direction: int) -> Figure:
        return shape.placed(np.array([-0.02 * np.sin(phase), 0.02 * np.cos(phase) - 0.5]), 1)

    return walking if is_body(skeleton) else swaying


def main(arguments: list[str] | None = None) -> None:
    description = "Make a film of walking figures, with ground truth of their identities."
    out = "film.mp4, its images and film.json"
    parser = drawing_parser("python -m posecore.data.synthetic.motion", description, out)
    parser.add_argument("--frames", type=int, default=250, help="number of images (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=25.0, help="images per second (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"), help="in pixels"
    )
    parser.add_argument(
        "--people", type=int, default=Walks.people, help="number of persons (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.frames < 1 or options.people < 0 or options.rate <= 0 or min(options.size) < 1:
        parser.error("--frames, --rate and --size must be above 0, and --people 0 or more")
    path = make_film(
        options.out,
        num_frames=options.frames,
        rate=options.rate,
        size=tuple(options.size),
        skeleton=options.skeleton,
        seed=options.seed,
        walks=Walks(people=options.people),
    )
    print(f"{options.frames} images: {path}")


if __name__ == "__main__":
    main()
