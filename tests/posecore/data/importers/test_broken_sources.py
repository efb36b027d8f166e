"""Sources that are broken or could mean two things: an error names the file, and nothing is written."""

import json
import os
import zipfile
from pathlib import Path

import pytest
from helpers.label_sources import point, write_image, write_labelme

from posecore.config.errors import UsageError
from posecore.data.importers.convert import import_dataset, read_keypoint_names
from posecore.data.importers.export import EXPORTERS
from posecore.data.importers.options import ImportOptions

ROW = "0 0.5 0.5 0.5 0.5 0.3 0.3 2 0.6 0.6 1 0 0 0"


def refused(source: Path, folder: Path, message: str, options: ImportOptions | None = None) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        import_dataset(source, folder, options or ImportOptions())
    assert not folder.exists()
    assert not list(folder.parent.glob(f".{folder.name}-*"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ROW.replace("0 0.5", "1 0.5", 1),
            r"a\.txt, line 2: the class must be a whole number from 0 to 0, not 1",
        ),
        (ROW.rsplit(" ", 2)[0], r"a\.txt, line 2 must have 14 numbers .* not 12"),
        (ROW.replace("0.3 0.3", "1.3 0.3"), r"line 2: labeled keypoints must be given in shares"),
        (ROW.replace("0.3 0.3", "-0.3 0.3"), r"line 2: labeled keypoints .* from 0 to 1, not as -0\.3"),
        (ROW.replace("0.3 0.3 2", "0.3 0.3 0.9"), r"must be 0, 1 or 2, not 0\.9; predictions"),
        (ROW.replace("0.3 0.3", "nan 0.3"), r"line 2: column 6 must be a finite number"),
        (ROW.replace("0.3 0.3", "x 0.3"), r"line 2: column 6 must be a number, not 'x'"),
        (ROW.replace("0 0.5 0.5 0.5", "0 20 15 20"), r"line 2: the box must be given in shares"),
    ],
)
def test_a_wrong_row_of_ultralytics(yolo, tmp_path, row, message):
    (yolo / "labels" / "train" / "a.txt").write_text(f"\n{row}\n")
    refused(yolo, tmp_path / "out", message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kpt_shape: [3, 3]\n", "", r"data\.yaml: kpt_shape must be"),
        ("[3, 3]", "[3, 4]", r"data\.yaml: kpt_shape must be"),
        ("[0, 2, 1]", "[0, 1, 1]", r"data\.yaml: flip_idx must be a permutation of 0 to 2"),
        ("[0, 2, 1]", "[0, 1]", r"data\.yaml: flip_idx must be a permutation"),
        ("{0: dog}", "{1: dog}", r"data\.yaml: names must list the classes"),
        (
            "train: images/train",
            "train: images/gone",
            r"data\.yaml: train is images/gone, which does not exist",
        ),
        ("right_ear]", "right_ear", r"data\.yaml: .*line"),
        ("{0: dog}", "!!python/object/apply:os.getcwd []", r"no code is run"),
    ],
)
def test_a_wrong_yaml_of_ultralytics(yolo, tmp_path, old, new, message):
    file = yolo / "data.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    refused(yolo, tmp_path / "out", message)


def test_labels_that_are_nowhere(yolo, tmp_path):
    (yolo / "labels").rename(yolo / "elsewhere")
    refused(yolo, tmp_path / "out", r"none of the 2 images has a file of labels")


def test_persons_of_labelme_that_nothing_tells_apart(tmp_path):
    write_labelme(tmp_path / "in", "a", [point("nose", 1, 2), point("nose", 20, 20)])
    refused(tmp_path / "in", tmp_path / "out", r"a\.json: shape 1 \(nose\): .*group_id")


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        ([point("nose", 1, 2, 1), point("nose", 3, 4, 1)], {}, r"group_id 1 has it twice"),
        ([point("nose", float("nan"), 2)], {}, r"shape 0 \(nose\): x must be a finite number"),
        ([{"label": "nose"}], {}, r"shape 0 \(nose\) must have a list of points"),
        ([point("nose", 1, 2)], {"imageHeight": 31}, r"of another size than the labels state"),
        ([point("nose", 1, 2)], {"imageHeight": "x"}, r"a\.json: imageHeight must be a number"),
        ([point("nose", 1, 2)], {"imagePath": None}, r"a\.json: imagePath must be the path"),
        ([], {}, r"no shape of type 'point'"),
    ],
)
def test_a_wrong_file_of_labelme(tmp_path, shapes, more, message):
    write_labelme(tmp_path / "in", "a", shapes, **more)
    refused(tmp_path / "in", tmp_path / "out", message)


def test_a_file_that_is_cut_off(tmp_path):
    file = write_labelme(tmp_path / "in", "a", [point("nose", 1, 2)])
    file.write_text(file.read_text()[:-20])
    refused(tmp_path / "in", tmp_path / "out", r"a\.json is not valid JSON")
    refused(file, tmp_path / "out", r"a\.json is not valid JSON")


def test_xml_with_entities(tmp_path):
    pytest.importorskip("defusedxml", reason="defusedxml is not installed (requirements/import.txt)")
    file = tmp_path / "annotations.xml"
    file.write_text('<!DOCTYPE a [<!ENTITY x "y">]><annotations><version>&x;</version></annotations>')
    refused(file, tmp_path / "out", r"annotations\.xml declares entities")
    file.write_text("<annotations><version>1.1</version><meta>")
    refused(file, tmp_path / "out", r"annotations\.xml is not valid XML")


def test_several_categories(tmp_path):
    names = ["a", "b"]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [
            {"id": number, "name": name, "keypoints": ["tip", "end"], "skeleton": []}
            for number, name in enumerate(names)
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "keypoints": [1, 1, 2, 9, 9, 2]}
        ],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    refused(tmp_path / "labels.json", tmp_path / "out", r"several categories .*\['a', 'b'\].* --category")
    refused(
        tmp_path / "labels.json",
        tmp_path / "out",
        r"--category must be one of \['a', 'b'\] .*not 'c'",
        ImportOptions(category="c"),
    )
    import_dataset(tmp_path / "labels.json", tmp_path / "out", ImportOptions(category="b"))
    written = json.loads((tmp_path / "out" / "annotations" / "train.json").read_text())
    assert [person["keypoints"] for person in written["annotations"]] == [[1, 1, 2, 9, 9, 2]]


def test_names_that_a_coco_file_repeats(tmp_path):
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    dog = {"id": 1, "name": "dog", "keypoints": ["tip", "end"]}
    content = {"images": [image], "categories": [dog, dog | {"id": 2}], "annotations": []}
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(content))
    refused(
        file, tmp_path / "out", r"labels\.json: several categories .* are called 'dog': names must differ"
    )
    file.write_text(json.dumps(content | {"categories": [dog], "images": [image, image | {"id": 2}]}))
    refused(file, tmp_path / "out", r"labels\.json lists the image a\.png twice")


def test_nothing_that_is_known(tmp_path):
    refused(tmp_path / "gone", tmp_path / "out", r"SOURCE .*gone does not exist")
    (tmp_path / "in").mkdir()
    refused(tmp_path / "in", tmp_path / "out", r"is an empty folder")
    (tmp_path / "in" / "notes.txt").touch()
    refused(tmp_path / "in", tmp_path / "out", r"is of no format that is known")
    write_labelme(tmp_path / "in", "a", [point("nose", 1, 2)])
    (tmp_path / "in" / "data.yaml").write_text("kpt_shape: [1, 3]")
    refused(
        tmp_path / "in", tmp_path / "out", r"several formats: name one with --format ultralytics \| labelme"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("../a.json", r"would be written elsewhere"), ("/a.json", r"would be written elsewhere")],
)
def test_an_archive_that_writes_elsewhere(tmp_path, name, message):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr(name, "{}")
    refused(tmp_path / "in.zip", tmp_path / "out", message)
    assert not (tmp_path / "a.json").exists()


def test_an_archive_that_is_a_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", "0" * 20_000_000)
    refused(tmp_path / "in.zip", tmp_path / "out", r"far more than images can be compressed")
    (tmp_path / "in.zip").write_bytes(b"PK nothing")
    refused(tmp_path / "in.zip", tmp_path / "out", r"no zip archive that can be read")


def test_outputs_are_not_written_over(yolo, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="not empty, and no dataset of an import"):
        import_dataset(yolo, folder, ImportOptions(), overwrite=True)
    (folder / "mine.txt").unlink()
    import_dataset(yolo, folder, ImportOptions())
    with pytest.raises(UsageError, match="--overwrite replaces it"):
        import_dataset(yolo, folder, ImportOptions())
    before = sorted(path.name for path in folder.rglob("*"))
    (yolo / "labels" / "train" / "a.txt").write_text("broken")
    with pytest.raises(ValueError, match=r"a\.txt"):
        import_dataset(yolo, folder, ImportOptions(), overwrite=True)
    assert sorted(path.name for path in folder.rglob("*")) == before
    with pytest.raises(UsageError, match="lies in SOURCE"):
        import_dataset(yolo, yolo / "out", ImportOptions())


def test_names_of_keypoints(tmp_path):
    file = tmp_path / "names.txt"
    for text, message in (("", "is empty"), ("a\nb\na\n", r"repeats \['a'\]")):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_keypoint_names(file)
    file.write_text("\ufeffnose\r\n left ear \n\n")
    assert read_keypoint_names(file) == ("nose", "left ear")


def test_an_image_that_cannot_be_read_is_left_out(yolo, tmp_path):
    (yolo / "images" / "train" / "a.png").write_bytes(b"nothing")
    summary = import_dataset(yolo, tmp_path / "out", ImportOptions())
    assert summary.splits[0].images == 1
    assert any("left out: 1 images that cannot be read: " in line for line in summary.lines())
    (yolo / "images" / "train" / "b.png").unlink()
    write_image(yolo / "images" / "train" / "c.png")
    refused(yolo, tmp_path / "other", r"none of the 1 images has a file of labels")


def test_what_is_read_is_not_replaced(yolo, tmp_path):
    """An earlier import may be replaced, but not by what is read from it."""
    folder = tmp_path / "dogs"
    import_dataset(yolo, folder, ImportOptions(), copy=True)
    labels = folder / "annotations" / "train.json"
    before = sorted(path.name for path in folder.rglob("*"))
    for source, images in ((labels, None), (labels, folder / "images")):
        with pytest.raises(UsageError, match=r"dogs has .*which is read, and would be replaced"):
            import_dataset(source, folder, ImportOptions(images=images), overwrite=True)
    (tmp_path / "elsewhere").mkdir()
    labels.rename(tmp_path / "elsewhere" / "train.json")
    (tmp_path / "elsewhere" / "images").symlink_to(folder / "images")
    with pytest.raises(UsageError, match=r"dogs has .*a\.png, which is read"):
        import_dataset(tmp_path / "elsewhere", folder, ImportOptions(), overwrite=True)
    (tmp_path / "elsewhere" / "train.json").rename(labels)
    assert sorted(path.name for path in folder.rglob("*")) == before


NAMES = ("a.png", "a.jpg", "x/a.png", "images/x/a.png", "x\\a.png")


@pytest.mark.parametrize("export", EXPORTERS.values(), ids=EXPORTERS)
@pytest.mark.parametrize("copy", [False, True], ids=["links", "copies"])
def test_images_of_one_name_stay_apart_in_an_export(tmp_path, export, copy):
    """Names that are the same without their ending, their folders "images", or with slashes."""
    images = [
        {"id": number, "file_name": name, "width": 40, "height": 30} for number, name in enumerate(NAMES, 1)
    ]
    person = {"category_id": 1, "iscrowd": 0, "bbox": [1, 1, 9, 9], "area": 50, "num_keypoints": 2}
    persons = [
        person | {"id": number, "image_id": number, "keypoints": [number, 1, 2, 9, 9, 2]}
        for number in range(1, len(NAMES) + 1)
    ]
    categories = [{"id": 1, "name": "person", "keypoints": ["tip", "end"]}]
    content = {"images": images, "categories": categories, "annotations": persons}
    for name in NAMES:
        write_image(tmp_path / "in" / name, 40, 30)
    (tmp_path / "in" / "train.json").write_text(json.dumps(content))
    (tmp_path / "in" / "skeleton.yaml").write_text(
        "{name: s, keypoints: [tip, end], flip_pairs: [], limbs: [], sigmas: [0.1, 0.1]}"
    )
    definition = tmp_path / "in" / f"train_{copy}.yaml"
    name = f"same_{export.__name__}_{copy}"
    definition.write_text(f"{{name: {name}, annotations: train.json, images: ., skeleton: skeleton.yaml}}")
    export(definition, tmp_path / "out", copy=copy)
    written = [path for path in (tmp_path / "out" / "images").rglob("*") if path.is_file()]
    assert len(written) == len(NAMES)
    labels = list((tmp_path / "out" / "labels").rglob("*.txt"))
    if labels:
        assert len({label.read_text() for label in labels}) == len(NAMES)
    else:
        (file,) = (tmp_path / "out" / "annotations").iterdir()
        assert len({image["file_name"] for image in json.loads(file.read_text())["images"]}) == len(NAMES)


def test_exports_stay_out_of_their_dataset(yolo, tmp_path):
    import_dataset(yolo, tmp_path / "dogs", ImportOptions())
    for export in EXPORTERS.values():
        with pytest.raises(UsageError, match="lies in the dataset"):
            export(tmp_path / "dogs", tmp_path / "dogs" / "out")
    assert not (tmp_path / "dogs" / "out").exists()


def test_a_broken_definition_is_no_split_less(yolo, tmp_path):
    import_dataset(yolo, tmp_path / "dogs", ImportOptions())
    (tmp_path / "dogs" / "val.yaml").write_text("name: [\n")
    for export in EXPORTERS.values():
        with pytest.raises(ValueError, match=r"val\.yaml"):
            export(tmp_path / "dogs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "value", ["1e400", "1" * 400, "NaN", "-Infinity", "true", '"x"', "null", "[1]", "{}"]
)
def test_numbers_that_are_none(tmp_path, value):
    file = write_labelme(tmp_path / "in", "a", [point("nose", 1, 77)])
    file.write_text(file.read_text().replace("77", value))
    refused(tmp_path / "in", tmp_path / "out", r"a\.json: shape 0 \(nose\): y must be a")


def test_pipes_are_not_waited_for(tmp_path):
    write_labelme(tmp_path / "in", "a", [point("nose", 1, 2)])
    names = [
        "a.json",
        "a.yaml",
        "a.csv",
        "a.xml",
        "a.slp",
        "a.zip",
        "joints.mat",
        "mpii_human_pose.mat",
        "a.txt",
    ]
    for name in names:
        os.mkfifo(tmp_path / name)
        refused(tmp_path / name, tmp_path / "out", r"is a device or a pipe: give a file or a folder")
        os.mkfifo(tmp_path / "in" / f"pipe_{name}")
        os.mkfifo(tmp_path / "in" / name.replace("a.json", "data.yaml").replace("a.yaml", "config.yaml"))
    (tmp_path / "in" / "b.json").symlink_to("/dev/zero")
    import_dataset(tmp_path / "in", tmp_path / "out", ImportOptions())


def test_half_characters(tmp_path):
    file = write_labelme(tmp_path / "in", "a", [point("nose", 1, 2)])
    file.write_text(file.read_text().replace("nose", "\\ud800"))
    refused(tmp_path / "in", tmp_path / "out", r"a\.json has the text '.ud800', which is half of a character")


def test_an_archive_that_is_damaged_or_has_two_files_of_one_name(tmp_path):
    file = tmp_path / "in.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", json.dumps(list(range(500))))
    content = bytearray(file.read_bytes())
    content[60:80] = bytes(20)
    file.write_bytes(content)
    refused(file, tmp_path / "out", r"in\.zip is no zip archive that can be read")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", "[]")
        archive.writestr("b.json", "{}")
    file.write_bytes(file.read_bytes().replace(b"b.json", b"a.json"))
    refused(file, tmp_path / "out", r"in\.zip has several files of one name")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kpt_shape: [3, 3]", "kpt_shape: [1000000000, 3]", r"data\.yaml: kpt_shape must be"),
        ("{0: dog}", "{.inf: dog}", r"data\.yaml: names must list the classes"),
        ("names: {0: dog}", "nc: 1000000000", r"data\.yaml: names must list the classes"),
    ],
)
def test_forged_counts_take_no_memory(yolo, tmp_path, old, new, message):
    file = yolo / "data.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    refused(yolo, tmp_path / "out", message)


VIA_HEADER = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,1,{},1,0", r"a\.csv, row 2: it must have the columns of VIA's header"),
        ('a.png,1,{},1,0,"{",{}', r"a\.csv, row 2: the attributes of a region must be JSON"),
        (f'a.png,1,{{}},1,0,"{"[" * 9999}",{{}}', r"a\.csv, row 2: the attributes of a region must be JSON"),
        (f'a.png,1,{{}},1,0,"{"x" * 200_000}', r"a\.csv is not valid CSV"),
    ],
)
def test_a_wrong_table_of_via(tmp_path, row, message):
    file = tmp_path / "a.csv"
    file.write_text(f"{VIA_HEADER}\n{row}\n")
    refused(file, tmp_path / "out", message)


def test_xml_of_an_unknown_encoding(tmp_path):
    pytest.importorskip("defusedxml", reason="defusedxml is not installed (requirements/import.txt)")
    file = tmp_path / "annotations.xml"
    file.write_text('<?xml version="1.0" encoding="nothing"?><annotations/>')
    refused(file, tmp_path / "out", r"annotations\.xml is not valid XML")
