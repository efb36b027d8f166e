"""What the samples do not have: several tasks and subsets of CVAT, two annotators, scorers, old files."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.label_sources import point, write_image, write_labelme

from posecore.data.importers import recognize
from posecore.data.importers.coco import read_coco_export
from posecore.data.importers.convert import import_dataset
from posecore.data.importers.cvat import read_cvat
from posecore.data.importers.deeplabcut import read_deeplabcut
from posecore.data.importers.label_studio import read_label_studio
from posecore.data.importers.labelme import read_labelme
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.skeletons import MIN_PAIRS
from posecore.data.importers.ultralytics import read_ultralytics

OPTIONS = ImportOptions()

CVAT = """<annotations><version>1.1</version><meta><{kind}><labels>
<label><name>dog</name><type>skeleton</type><svg>{svg}</svg></label>
<label><name>nose</name><type>points</type><parent>dog</parent></label>
<label><name>tail</name><type>points</type><parent>dog</parent></label>
<label><name>nose</name><type>points</type><parent>cat</parent></label>
</labels></{kind}></meta>{images}</annotations>"""
NODE = '&lt;circle data-type="element node" data-node-id="{0}" {1}&gt;&lt;/circle&gt;'
NAMED = NODE.format(2, 'data-label-name="tail"') + NODE.format(1, 'data-label-name="nose"')


def cvat(folder: Path, images: str, kind: str = "project", svg: str = NAMED) -> Path:
    pytest.importorskip("defusedxml", reason="defusedxml is not installed (requirements/import.txt)")
    (folder / "annotations.xml").write_text(CVAT.format(kind=kind, svg=svg, images=images))
    return folder


def cvat_image(inner: str, name: str = "a.png", more: str = "") -> str:
    return f'<image id="0" name="{name}" width="40" height="30" {more}>{inner}</image>'


SKELETON = '<skeleton label="dog"><points label="tail" outside="0" occluded="0" points="3,4"/></skeleton>'


@pytest.mark.parametrize("kind", ["task", "job", "project"])
def test_a_point_that_cvat_leaves_out_is_not_labeled(tmp_path, kind):
    dataset = read_cvat(cvat(tmp_path, cvat_image(SKELETON), kind), OPTIONS)
    assert dataset.skeleton.keypoints == ("nose", "tail")
    assert dataset.images[0].persons[0].keypoints.tolist() == [[0, 0, 0], [3, 4, 2]]


def test_points_without_names_take_those_of_the_labels(tmp_path):
    numbered = NODE.format(1, 'data-label-id="71"') + NODE.format(2, 'data-label-id="72"')
    dataset = read_cvat(cvat(tmp_path, cvat_image(SKELETON), svg=numbered), OPTIONS)
    assert dataset.skeleton.keypoints == ("nose", "tail")


def test_subsets_and_tasks_of_cvat(tmp_path):
    write_image(tmp_path / "images" / "Val" / "a.png")
    images = cvat_image(SKELETON, more='subset="Train" task_id="1"') + cvat_image(
        "", more='subset="Val" task_id="1"'
    )
    images += cvat_image(SKELETON, more='subset="Train" task_id="2"')
    dataset = read_cvat(cvat(tmp_path, images), OPTIONS)
    assert [image.name for image in dataset.images] == ["Train/a.png", "Val/a.png", "task2/Train/a.png"]
    assert dataset.images[1].source == tmp_path / "images" / "Val" / "a.png"
    assert [image.split for image in dataset.images] == ["Train", "Val", "Train"]
    import_dataset(tmp_path, tmp_path.parent / f"{tmp_path.name}-out", OPTIONS)
    written = sorted(file.name for file in (tmp_path.parent / f"{tmp_path.name}-out").glob("*.yaml"))
    assert written == ["skeleton.yaml", "train.yaml", "val.yaml"]


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (SKELETON.replace("tail", "ear"), r"image 'a\.png': its point 'ear' is none of the skeleton's"),
        (SKELETON.replace("3,4", "3"), r"its point 'tail' must have x,y"),
        (SKELETON.replace("3,4", "x,4"), r"its point 'tail' must be a number"),
        (SKELETON.replace("</skeleton>", '<points label="tail"/></skeleton>'), r"'tail' occurs twice"),
    ],
)
def test_wrong_elements_of_cvat(tmp_path, inner, message):
    with pytest.raises(ValueError, match=message):
        read_cvat(cvat(tmp_path, cvat_image(inner)), OPTIONS)


def region(label: str, x: float, y: float, number: int) -> dict:
    return {
        "id": f"r{number}",
        "type": "keypointlabels",
        "value": {"x": x, "y": y, "keypointlabels": [label]},
        "original_width": 200,
        "original_height": 100,
    }


def task(number: int, *results: list[dict]) -> dict:
    annotations = [{"result": result} for result in results]
    return {"id": number, "data": {"image": f"{number}.png"}, "annotations": annotations}


def test_two_annotators_give_sigmas(tmp_path):
    first = [region("nose", 10, 10, 1), region("tail", 60, 90, 2)]
    # The nose is 1 % of 200 pixels off, on a body of 0.53 x 100 x 80 square pixels; the tail is not off.
    second = [region("nose", 11, 10, 1), region("tail", 60, 90, 2)]
    tasks = [task(number, first, second) for number in range(MIN_PAIRS)]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    summary = import_dataset(tmp_path / "export.json", tmp_path / "out", OPTIONS)
    assert summary.skeleton.sigmas == pytest.approx((2 / np.sqrt(0.53 * 100 * 80), 0.01), abs=1e-4)
    assert sum(len(image.persons) for image in summary.dataset.images) == MIN_PAIRS


def test_keypoints_in_several_rectangles_of_label_studio(tmp_path):
    box = {"x": 0, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["dog"]}
    boxes = [{**region("", 0, 0, 8 + n), "type": "rectanglelabels", "value": box} for n in (0, 1)]
    (tmp_path / "export.json").write_text(json.dumps([task(7, [region("nose", 10, 10, 1), *boxes])]))
    with pytest.raises(ValueError, match=r"export\.json: task 7: keypoint 'nose' lies in 2 rectangles"):
        read_label_studio(tmp_path / "export.json", OPTIONS)


def test_a_rectangle_that_is_turned(tmp_path):
    turned = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 90, "rectanglelabels": ["dog"]}
    box = {**region("", 0, 0, 2), "type": "rectanglelabels", "value": turned}
    (tmp_path / "export.json").write_text(json.dumps([task(1, [region("nose", 45, 60, 1), box])]))
    (image,) = read_label_studio(tmp_path / "export.json", OPTIONS).images
    # 40 x 10 pixels, a quarter turn clockwise about the upper left corner (100, 50).
    assert image.persons[0].box == pytest.approx((90, 50, 10, 40))


def deeplabcut(folder: Path, rows: str, scorer: str = "Ann") -> Path:
    labels = folder / "labeled-data" / "film"
    write_image(labels / "img1.png")
    (folder / "config.yaml").write_text("scorer: Ann\nbodyparts: [nose, tail]\nskeleton: [[nose, tail]]\n")
    header = f"scorer,{scorer},{scorer},{scorer},{scorer}\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
    (labels / f"CollectedData_{scorer}.csv").write_text(header + rows)
    return folder


def test_an_index_of_paths_and_of_windows(tmp_path):
    dataset = read_deeplabcut(deeplabcut(tmp_path, "labeled-data\\film\\img1.png,1,2,,\n"), OPTIONS)
    (image,) = dataset.images
    assert (image.name, image.video) == ("labeled-data/film/img1.png", "film")
    assert image.persons[0].keypoints.tolist() == [[1, 2, 2], [0, 0, 0]]
    assert dataset.skeleton.limbs == (("nose", "tail"),)


@pytest.mark.parametrize(
    ("rows", "scorer", "message"),
    [
        ("labeled-data/film/img1.png,1,2,3\n", "Ann", r"CollectedData_Ann\.csv, row 4: it has 4 columns"),
        ("labeled-data/film/img1.png,1,x,3,4\n", "Ann", r"nose y must be a number, not 'x'"),
        ("labeled-data/film/img1.png,1,,3,4\n", "Ann", r"nose has one coordinate of two"),
        ("labeled-data/film/img1.png,1,2,3,4\n" * 2, "Ann", r"img1\.png occurs twice"),
        ("labeled-data/film/img1.png,1,2,3,4\n", "Bob", r"has no file of labels.*another scorer than Ann"),
    ],
)
def test_wrong_tables_of_deeplabcut(tmp_path, rows, scorer, message):
    with pytest.raises((ValueError, OSError), match=message):
        read_deeplabcut(deeplabcut(tmp_path, rows, scorer), OPTIONS)


def test_old_files_of_labelme(tmp_path):
    write_labelme(tmp_path, "a", [{"label": "nose", "points": [[1, 2]]}], imageHeight=None, imageWidth=None)
    (image,) = read_labelme(tmp_path, OPTIONS).images
    assert (image.width, image.height) == (40, 30)
    assert image.persons[0].keypoints.tolist() == [[1, 2, 2]]


def test_persons_of_several_kinds_in_labelme(tmp_path):
    def box(label: str, group: int) -> dict:
        return {"label": label, "points": [[0, 0], [9, 9]], "group_id": group, "shape_type": "rectangle"}

    shapes = [point("nose", 1, 2, 1), box("dog", 1), point("nose", 3, 4, 2), box("cat", 2)]
    write_labelme(tmp_path, "a", shapes)
    with pytest.raises(ValueError, match=r"several categories with keypoints, \['dog', 'cat'\]"):
        read_labelme(tmp_path, OPTIONS)
    dataset = read_labelme(tmp_path, ImportOptions(category="cat"))
    assert [person.keypoints.tolist() for person in dataset.images[0].persons] == [[[3, 4, 2]]]


def test_what_people_write_into_labels_of_ultralytics(yolo):
    label = yolo / "labels" / "train" / "a.txt"
    row = "0 0.5 0.5 0.5 0.5 0.3 0.3 2.000000 0.6 0.6 -1 0.9 0.9 0"
    label.write_bytes(f"\ufeff{row} 7\r\n\r\n{row}  7\r\n".encode())
    (yolo / "data.yaml").write_text((yolo / "data.yaml").read_text().replace("[0, 2, 1]", "[[1, 2]]"))
    dataset = read_ultralytics(yolo, OPTIONS)
    (person,) = dataset.images[0].persons
    assert person.keypoints == pytest.approx(np.array([[12, 9, 2], [0, 0, 0], [0, 0, 0]]))
    assert dataset.skeleton.flip_pairs == (("left_ear", "right_ear"),)
    assert sum(map(len, dataset.notes.left_out.values())) == 3  # the row twice, and both images once more


@pytest.mark.parametrize("root", ["C:\\data\\dogs\\images\\train", "/home/me/dogs/images/train"])
def test_absolute_paths_of_another_machine(yolo, root):
    file = yolo / "data.yaml"
    file.write_text(file.read_text().replace("images/train", root))
    dataset = read_ultralytics(yolo, ImportOptions())
    assert [image.name for image in dataset.images] == ["images/train/a.png", "images/train/b.png"]


def test_files_of_boxes_beside_those_of_keypoints(tmp_path):
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8]}
    for name, category in (("instances_train", {}), ("person_keypoints_train", {"keypoints": ["nose"]})):
        content = {
            "images": [image],
            "categories": [{"id": 1, "name": "dog", **category}],
            "annotations": [person | ({"keypoints": [5, 5, 2]} if category else {})],
        }
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps(content))
    write_image(tmp_path / "train2017" / "a.png")
    assert recognize(tmp_path) == "coco"
    (image,) = read_coco_export(tmp_path, OPTIONS).images
    assert image.source == tmp_path / "train2017" / "a.png"
    assert len(image.persons) == 1
