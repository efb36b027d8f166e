"""Films of drawn figures that walk."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.skeletons import DOG

from posecore.data.synthetic.motion import Walks, animate, main
from posecore.structures.skeleton import load_skeleton

COCO = load_skeleton("coco_17")
SMALL = {"size": (48, 64), "skeleton": COCO}


def test_a_film_depends_on_its_arguments_alone() -> None:
    first, again, other = (list(animate(num_frames=3, seed=seed, **SMALL)) for seed in (5, 5, 6))
    for one, same, different in zip(first, again, other, strict=True):
        assert (one.image == same.image).all()
        assert one.people == same.people
        assert (one.image != different.image).any()
    assert [frame.time for frame in first] == [0, 0.04, 0.08]


def test_persons_walk_cross_leave_and_come_back() -> None:
    frames = list(animate(num_frames=100, rate=4, seed=1, walks=Walks(people=3), **SMALL))
    seen = np.array([[any(p["track_id"] == i for p in f.people) for i in (1, 2, 3)] for f in frames])
    for states in seen.T:
        assert states.any()
        assert not states.all()
        assert (np.diff(states.astype(int)) == 1).sum() >= 1  # somebody comes back
    tracks = {}
    for frame in frames:
        for person, keypoints in zip(frame.people, frame.keypoints, strict=True):
            tracks.setdefault(person["track_id"], {})[frame.time] = keypoints.mean(axis=0)[0]
    both = [tracks[1][t] - tracks[2][t] for t in sorted(tracks[1].keys() & tracks[2].keys())]
    assert min(both) < 0 < max(both)


def test_steps_are_smooth() -> None:
    frames = list(animate(num_frames=20, rate=25, seed=0, walks=Walks(people=1, beyond=0.0), **SMALL))
    points = np.array([frame.keypoints[0] for frame in frames if len(frame.keypoints)])
    assert len(points) > 10
    assert np.abs(np.diff(points, axis=0)).max() < 8
    assert np.ptp(points[:, COCO.keypoints.index("left_ankle"), 0]) > 1


@pytest.mark.parametrize("skeleton", [DOG, load_skeleton("coco_wholebody_133"), load_skeleton("mpii_16")])
def test_any_skeleton_moves(skeleton) -> None:
    first, *_, last = animate(num_frames=12, size=(48, 64), skeleton=skeleton, seed=2, walks=Walks(people=2))
    assert first.keypoints.shape[1:] == (skeleton.num_keypoints, 2)
    assert all(len(person["keypoints"]) == 3 * skeleton.num_keypoints for person in last.people)


def test_nobody_walks() -> None:
    (frame,) = animate(num_frames=1, walks=Walks(people=0), **SMALL)
    assert frame.people == []
    assert frame.keypoints.shape == (0, 17, 2)


def test_the_command_writes_a_film_and_its_ground_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path), "--frames", "4", "--size", "48", "64", "--people", "2", "--seed", "3"])
    assert capsys.readouterr().out == f"4 images: {tmp_path / 'film.json'}\n"
    content = json.loads((tmp_path / "film.json").read_text())
    assert [image["frame_id"] for image in content["images"]] == [0, 1, 2, 3]
    frames = list(animate(num_frames=4, seed=3, walks=Walks(people=2), **SMALL))
    assert len(content["annotations"]) == sum(len(frame.people) for frame in frames)
    assert {person["track_id"] for person in content["annotations"]} <= {1, 2}
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    success, image = capture.read()
    assert success
    assert np.abs(image[..., ::-1].astype(int) - frames[0].image).mean() < 20
    assert len(list((tmp_path / "images").iterdir())) == 4
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--frames", "0"])
