"""Poses in the formats of other tools, against samples of these tools and their readers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import coco as pycocotools_coco

from posecore.config.merge import UsageError
from posecore.inference.interchange import (
    COCO_RESULTS,
    FORMATS,
    open_export,
    read_image_ids,
    to_supervision,
)
from posecore.inference.records import pose_record
from posecore.inference.video import Source, SourceImage
from posecore.structures.skeleton import Skeleton, load_skeleton

COCO = load_skeleton("coco_17")
WHOLE_BODY = load_skeleton("coco_wholebody_133")
TAIL = Skeleton(
    name="tail",
    keypoints=("nose", "left_eye", "right_eye", "tail tip"),
    flip_pairs=(("left_eye", "right_eye"),),
    limbs=(),
    sigmas=(0.1,) * 4,
)


def image(name: str) -> Source:
    return Source(f"/data/{name}", "image", name)


def film(name: str = "dance.mp4") -> Source:
    return Source(f"/data/{name}", "video", name)


def record(name: str, keypoints: list, skeleton: Skeleton, number: int | None = None, **extra) -> dict:
    """A record of persons with keypoints (M, K, 3), continuous pixels."""
    points = torch.tensor(keypoints, dtype=torch.float64).reshape(-1, skeleton.num_keypoints, 3)
    count = len(points)
    poses = Instances(
        (100, 120),
        pred_keypoints=points,
        pred_boxes=Boxes(torch.tensor([[10.5, 20.5, 40.5, 90.5]]).repeat(count, 1)),
        scores=torch.full((count,), 0.75),
        **extra,
    )
    return pose_record(SourceImage(np.zeros((100, 120, 3), np.uint8), name, number), poses, skeleton)


def written(
    name: str, folder: Path, sources: list[Source], records: list[dict], skeleton=COCO, **extra
) -> None:
    export = open_export(name, folder, sources, skeleton, **extra)
    for item in records:
        export.write(item)
    export.close(complete=True)


# Their places in BODY_25, in the order of coco_17 (facts of the format).
IN_BODY_25 = [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]


def test_openpose_of_a_film_is_like_its_own_files(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "formats" / "openpose" / "film_body25"
    expected = json.loads((folder / "expected.json").read_text())
    records = []
    for number in range(3):
        points = [r["keypoints"] for r in expected["results"] if r["frame"] == number]
        body = np.array(points).reshape(-1, 25, 3)[:, IN_BODY_25] + [0.5, 0.5, 0]
        records.append(record("dance.mp4", body.tolist(), COCO, number))
    written("openpose", tmp_path, [film()], records)
    files = sorted(path.name for path in folder.glob("*_keypoints.json"))
    assert sorted(path.name for path in (tmp_path / "openpose").iterdir()) == files
    for name in files:
        own = json.loads((folder / name).read_text())
        ours = json.loads((tmp_path / "openpose" / name).read_text())
        assert len(ours["people"]) == len(own["people"])
        for person, model in zip(ours["people"], own["people"], strict=True):
            assert person.keys() == model.keys()
            assert person["person_id"] == [-1]
            points, known = (np.array(x["pose_keypoints_2d"]).reshape(25, 3) for x in (person, model))
            np.testing.assert_allclose(points[IN_BODY_25], known[IN_BODY_25], atol=1e-3)
            # Neck and MidHip are the middles; feet are not found.
            np.testing.assert_allclose(
                points[[1, 8], :2], [points[[2, 5], :2].mean(0), points[[9, 12], :2].mean(0)]
            )
            assert not points[19:].any()


def test_openpose_has_the_feet_of_whole_bodies_and_ids(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(1, 90, (1, 133, 3))
    item = record("a.jpg", points.tolist(), WHOLE_BODY, track_ids=torch.tensor([3]))
    written("openpose", tmp_path, [image("a.jpg")], [item], WHOLE_BODY)
    (person,) = json.loads((tmp_path / "openpose" / "a_keypoints.json").read_text())["people"]
    feet = np.array(person["pose_keypoints_2d"]).reshape(25, 3)[19:]
    names = ["left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"]
    indices = [WHOLE_BODY.keypoints.index(name) for name in names]
    np.testing.assert_allclose(feet, points[0, indices] - [0.5, 0.5, 0])
    assert person["person_id"] == [3]


def test_openpose_needs_a_body(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"needs the keypoints of coco_17; the skeleton tail lacks left_ankle"
    ):
        open_export("openpose", tmp_path, [image("a.jpg")], TAIL)


def test_labelme_is_like_its_own_files(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "formats" / "labelme" / "two_groups"
    expected = json.loads((folder / "expected.json").read_text())
    annotations = [person for person in expected["annotations"] if person["image_id"] == 1]
    points = np.array([person["keypoints"] for person in annotations]).reshape(-1, 4, 3)
    source = Source(str(folder / "a.png"), "image", "a.png")
    item = record("a.png", (points + np.array([0.5, 0.5, 0])).tolist(), TAIL)
    written("labelme", tmp_path, [source], [item], TAIL)
    ours = json.loads((tmp_path / "labelme" / "a.json").read_text())
    own = json.loads((folder / "a.json").read_text())
    assert ours.keys() == own.keys()
    assert (ours["imageHeight"], ours["imageWidth"]) == (own["imageHeight"], own["imageWidth"])
    assert (tmp_path / "labelme" / ours["imagePath"]).resolve() == (folder / "a.png").resolve()
    assert all(shape.keys() == own["shapes"][0].keys() for shape in ours["shapes"])
    found = {
        (shape["group_id"], shape["label"]): shape["points"]
        for shape in ours["shapes"]
        if shape["shape_type"] == "point"
    }
    groups = {1: 1, 7: 2}
    for shape in own["shapes"]:
        if shape["shape_type"] == "point":
            np.testing.assert_allclose(found[groups[shape["group_id"]], shape["label"]], shape["points"])
    (box, _) = (shape for shape in ours["shapes"] if shape["shape_type"] == "rectangle")
    assert box["points"] == [[10, 20], [40, 90]]
    assert (box["label"], box["group_id"]) == ("person", 1)


def test_labelme_needs_image_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"labelme needs image files, and /data/dance\.mp4 is none"):
        open_export("labelme", tmp_path, [image("a.jpg"), film()], COCO)


def test_files_of_equal_stems_differ(tmp_path: Path) -> None:
    sources = [image("a.jpg"), image("a.png"), image("b/c.png")]
    written("labelme", tmp_path, sources, [record(source.name, [], COCO) for source in sources])
    files = sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.json"))
    assert files == ["labelme/a.jpg.json", "labelme/a.png.json", "labelme/b/c.json"]


def test_coco_results_are_read_by_pycocotools(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(1, 90, (2, 17, 3))
    sources = [image("000012.jpg"), image("13.png")]
    records = [record("000012.jpg", points.tolist(), COCO), record("13.png", [], COCO)]
    written("coco", tmp_path, sources, records)
    dataset = pycocotools_coco.COCO()
    dataset.dataset = {"images": [{"id": 12}, {"id": 13}], "annotations": [], "categories": [{"id": 1}]}
    dataset.createIndex()
    results = dataset.loadRes(str(tmp_path / COCO_RESULTS))
    loaded = np.array([a["keypoints"] for a in results.loadAnns(results.getAnnIds([12]))])
    np.testing.assert_allclose(loaded.reshape(2, 17, 3), points - [0.5, 0.5, 0])
    assert results.getAnnIds([13]) == []


def test_coco_image_ids(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"photo\.jpg is none: give --image-ids"):
        open_export("coco", tmp_path, [image("photo.jpg")], COCO)
    with pytest.raises(UsageError, match=r"images a/1\.jpg and b/1\.jpg would both have the image_id 1"):
        open_export("coco", tmp_path, [image("a/1.jpg"), image("b/1.jpg")], COCO)
    with pytest.raises(UsageError, match=r"a video that is the only input, and /data/dance\.mp4 is not"):
        open_export("coco", tmp_path, [film(), film("other.mp4")], COCO)
    (tmp_path / "ids.json").write_text('{"images": [{"file_name": "photo.jpg", "id": 77}]}')
    ids = read_image_ids(tmp_path / "ids.json")
    item = record("a/photo.jpg", [[[1, 1, 1]] * 17], COCO)
    written("coco", tmp_path, [image("a/photo.jpg")], [item], image_ids=ids)
    assert json.loads((tmp_path / COCO_RESULTS).read_text())[0]["image_id"] == 77
    with pytest.raises(UsageError, match=r"--image-ids has no image of the file name b\.jpg"):
        open_export("coco", tmp_path, [image("b.jpg")], COCO, ids)
    (tmp_path / "ids.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"ids\.json must be an annotation file"):
        read_image_ids(tmp_path / "ids.json")


def test_coco_counts_the_images_of_a_film(tmp_path: Path) -> None:
    records = [
        record("dance.mp4", [[[1, 1, 1]] * 17], COCO, number, track_ids=torch.tensor([number]))
        for number in range(2)
    ]
    written("coco", tmp_path, [film()], records)
    results = json.loads((tmp_path / COCO_RESULTS).read_text())
    assert [(item["image_id"], item.get("track_id")) for item in results] == [(0, None), (1, 1)]


def test_a_broken_off_prediction_keeps_the_earlier_coco_file(tmp_path: Path) -> None:
    (tmp_path / COCO_RESULTS).write_text("[]")
    export = open_export("coco", tmp_path, [image("1.jpg")], COCO)
    export.write(record("1.jpg", [[[1, 1, 1]] * 17], COCO))
    export.close(complete=False)
    assert (tmp_path / COCO_RESULTS).read_text() == "[]"
    assert [file.name for file in tmp_path.iterdir()] == [COCO_RESULTS]


def test_names_of_formats(tmp_path: Path) -> None:
    assert list(FORMATS) == ["posecore", "coco", "openpose", "labelme"]
    assert open_export("posecore", tmp_path, [film()], COCO) is None
    with pytest.raises(UsageError, match=r"--format must be one of posecore, coco, openpose, labelme"):
        open_export("csv", tmp_path, [film()], COCO)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "labelme").write_text("a file")
    export = open_export("labelme", tmp_path, [image("a.jpg")], COCO)
    with pytest.raises(UsageError, match=r"labelme/a\.json cannot be written"):
        export.write(record("a.jpg", [], COCO))


@pytest.mark.parametrize("count", [0, 2])
def test_supervision(count: int) -> None:
    supervision = pytest.importorskip("supervision", reason="optional: `pip install supervision`")
    points = torch.rand(count, 17, 3)
    ids = torch.arange(count)
    poses = Instances(
        (100, 120),
        pred_keypoints=points,
        pred_boxes=Boxes(torch.zeros(count, 4)),
        scores=torch.full((count,), 0.5),
        track_ids=ids,
    )
    item = pose_record(SourceImage(np.zeros((100, 120, 3), np.uint8), "a.mp4", 0), poses, COCO)
    for found in (to_supervision(poses), to_supervision(item, COCO)):
        assert isinstance(found, supervision.KeyPoints)
        assert len(found) == count
        np.testing.assert_allclose(found.xy, points[..., :2], rtol=1e-6)
        np.testing.assert_allclose(found.keypoint_confidence, points[..., 2], rtol=1e-6)
        np.testing.assert_allclose(found.detection_confidence, [0.5] * count)
        if count:
            assert found.data["tracker_id"].tolist() == ids.tolist()
    canvas = np.zeros((100, 120, 3), np.uint8)
    supervision.VertexAnnotator().annotate(canvas, to_supervision(poses))
