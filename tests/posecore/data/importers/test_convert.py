"""From a source to a dataset: images, splits, skeletons, sigmas, and exports back."""

import base64
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from helpers.label_sources import point, write_image, write_labelme
from PIL import Image

from posecore.config.errors import UsageError
from posecore.data.datasets import dataset_metadata, load_dataset, resolve_dataset, resolve_datasets
from posecore.data.importers import IMPORTERS
from posecore.data.importers.convert import import_dataset
from posecore.data.importers.dataset import (
    ImportedDataset,
    ImportedImage,
    ImportedPerson,
    RepeatedLabels,
    SourceSkeleton,
)
from posecore.data.importers.export import export_coco, export_yolo
from posecore.data.importers.notes import WARNING, Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.skeletons import (
    MIN_PAIRS,
    complete_skeleton,
    default_sigma,
    estimate_sigmas,
    flipped_name,
)
from posecore.data.importers.splits import split_images
from posecore.structures.skeleton import load_skeleton


def imported(names: list[str], videos: list[str | None] | None = None) -> ImportedDataset:
    person = ImportedPerson(np.array([[1.0, 2.0, 2.0]]))
    videos = videos or [None] * len(names)
    images = tuple(
        ImportedImage(name, None, 40, 30, (person,), None, video)
        for name, video in zip(names, videos, strict=True)
    )
    return ImportedDataset("coco", SourceSkeleton("dog", ("nose",)), images, Notes())


def test_a_dataset_is_read_again(yolo, tmp_path):
    summary = import_dataset(yolo, tmp_path / "read_dogs", ImportOptions())
    assert [(split.name, split.images, split.persons) for split in summary.splits] == [("train", 2, 2)]
    name = resolve_dataset(str(tmp_path / "read_dogs" / "train.yaml"))
    skeleton = dataset_metadata(name).skeleton
    assert (name, skeleton.name, skeleton.flip_pairs) == (
        "read_dogs_train",
        "dog",
        (("left_ear", "right_ear"),),
    )
    first, _ = load_dataset(name, skeleton)
    (person,) = first["annotations"]
    assert person["keypoints"] == pytest.approx([12.5, 9.5, 2, 24.5, 18.5, 1, 0.5, 0.5, 0])
    assert person["bbox"] == pytest.approx([10, 7.5, 20, 15])
    file = Path(first["file_name"])
    assert file.is_symlink()
    assert file.samefile(yolo / "images" / "train" / "a.png")


def test_names_that_a_user_gives(yolo, tmp_path):
    names = ("tip", "left_fin", "right_fin")
    summary = import_dataset(yolo, tmp_path / "named", ImportOptions(keypoints=names))
    assert summary.skeleton.keypoints == names
    with pytest.raises(ValueError, match=r"--keypoints has 2 names, but .*data\.yaml has 3 keypoints"):
        import_dataset(yolo, tmp_path / "wrong", ImportOptions(keypoints=names[1:]))
    export_coco(tmp_path / "named", tmp_path / "coco")
    again = import_dataset(tmp_path / "coco", tmp_path / "again", ImportOptions(keypoints=("a", "b", "c")))
    assert again.skeleton.keypoints == names
    assert any("--keypoints is not used" in remark for remark in again.dataset.notes.remarks)


def test_copies_and_archives_stand_alone(yolo, tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for file in yolo.rglob("*"):
            archive.write(file, file.relative_to(tmp_path))
    import_dataset(yolo, tmp_path / "copied", ImportOptions(), copy=True)
    import_dataset(tmp_path / "in.zip", tmp_path / "unpacked", ImportOptions())
    for folder in ("copied", "unpacked"):
        images = list((tmp_path / folder / "images").rglob("*.png"))
        assert len(images) == 2
        assert not any(file.is_symlink() for file in images)


def test_errors_and_notes_of_an_archive_name_it(yolo, tmp_path):
    archive = tmp_path / "in.zip"
    for row in ("0 0.5", "0 0.5 0.5 0.5 0.5 0.3 0.3 2 0.6 0.6 1 0 0 0\n" * 2):
        (yolo / "labels" / "train" / "a.txt").write_text(row)
        with zipfile.ZipFile(archive, "w") as content:
            for file in yolo.rglob("*"):
                content.write(file, file.relative_to(tmp_path))
        if row == "0 0.5":
            with pytest.raises(
                ValueError, match=r"in\.zip/yolo/labels/train/a\.txt, line 1 must have 14"
            ) as error:
                import_dataset(archive, tmp_path / "out", ImportOptions())
            assert "posecore-import-" not in str(error.value)
    lines = "\n".join(import_dataset(archive, tmp_path / "out", ImportOptions()).lines())
    assert "in.zip/yolo/labels/train/a.txt:2" in lines
    assert "posecore-import-" not in lines


def test_a_folder_with_nothing_but_a_folder(yolo, tmp_path):
    yolo.rename(yolo.parent / "inner")
    outer = tmp_path / "outer"
    (outer / "middle").mkdir(parents=True)
    (yolo.parent / "inner").rename(outer / "middle" / "inner")
    (outer / ".DS_Store").touch()
    summary = import_dataset(outer, tmp_path / "out", ImportOptions())
    assert summary.splits[0].images == 2
    (tmp_path / "empty").mkdir()
    (tmp_path / "in.tar.gz").touch()
    for name, message in (("empty", "is an empty folder"), ("in.tar.gz", r"unpack it, or make a \.zip")):
        with pytest.raises(UsageError, match=message):
            import_dataset(tmp_path / name, tmp_path / "none", ImportOptions())


def test_an_image_is_upright(tmp_path):
    write_labelme(
        tmp_path / "in", "a", [point("nose", 1, 2)], imageWidth=30, imageHeight=40, imagePath="a.jpg"
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "in" / "a.jpg", exif=exif)
    (tmp_path / "in" / "a.png").unlink()
    summary = import_dataset(tmp_path / "in", tmp_path / "out", ImportOptions())
    (image,) = summary.dataset.images
    assert (image.width, image.height) == (30, 40)


def test_an_image_within_a_file_of_labelme(tmp_path):
    file = write_labelme(tmp_path / "in", "a", [point("nose", 1, 2)])
    image = tmp_path / "in" / "a.png"
    content = json.loads(file.read_text()) | {"imageData": base64.b64encode(image.read_bytes()).decode()}
    file.write_text(json.dumps(content))
    image.unlink()
    import_dataset(tmp_path / "in", tmp_path / "out", ImportOptions())
    assert cv2.imread(str(tmp_path / "out" / "images" / "a.png")).shape == (30, 40, 3)


def test_missing_images_are_a_warning(tmp_path):
    write_labelme(tmp_path / "in", "a", [point("nose", 1, 2)])
    (tmp_path / "in" / "a.png").rename(tmp_path / "a.png")
    summary = import_dataset(tmp_path / "in", tmp_path / "out", ImportOptions())
    assert any(line.startswith(f"{WARNING}: the files of 1 of 1 images") for line in summary.lines())
    with pytest.raises(
        ValueError, match=r"no image that can be used \(1 images whose file was not found: a\.png"
    ):
        import_dataset(tmp_path / "in", tmp_path / "skipped", ImportOptions(), skip_missing=True)
    found = import_dataset(tmp_path / "in", tmp_path / "found", ImportOptions(images=tmp_path))
    assert found.dataset.notes.missing == []


def test_hidden_keypoints_of_labelme(tmp_path):
    shapes = [point("nose", 1, 2, flags={"occluded": True}), point("tail_occluded", 3, 4), point("ear", 5, 6)]
    write_labelme(tmp_path / "in", "a", shapes)
    dataset = IMPORTERS["labelme"].read(tmp_path / "in", ImportOptions())
    assert dataset.skeleton.keypoints == ("nose", "tail", "ear")
    assert dataset.images[0].persons[0].keypoints[:, 2].tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("left_ear", "right_ear"),
        ("ear left", "ear right"),
        ("LeftEar", "RightEar"),
        ("earLeft", "earRight"),
        ("L_ear", "R_ear"),
        ("LEar", "REar"),
        ("wing L", "wing R"),
        ("wingL", "wingR"),
        ("ear.l", "ear.r"),
        ("LEFT_EAR", "RIGHT_EAR"),
        ("paw, left", "paw, right"),
        ("leftear", "rightear"),
        ("front_left_paw_1", "front_right_paw_1"),
    ],
)
def test_flip_pairs_of_names(name, other):
    names = ("nose", other, name, "tail", "ruler")
    assert flipped_name(name, names) == other
    assert flipped_name(other, names) == name
    assert flipped_name("nose", names) is None
    dataset = ImportedDataset("coco", SourceSkeleton("dog", names), (), Notes())
    assert complete_skeleton(dataset, "dog").flip_pairs == ((name, other),)


def test_flip_pairs_of_the_source():
    names = ("a", "b", "left_eye", "right_eye")
    source = SourceSkeleton("dog", names, flip_pairs=(("b", "a"), ("left_eye", "a")))
    dataset = ImportedDataset("coco", source, (), Notes())
    assert complete_skeleton(dataset, "dog").flip_pairs == (("a", "b"), ("left_eye", "right_eye"))
    assert any("contradicts the names" in remark for remark in dataset.notes.remarks)
    assert any("taken for the left one" in remark for remark in dataset.notes.remarks)


def test_sigmas():
    names = ("nose", "tail")
    known = SourceSkeleton("dog", names, sigmas=(0.03, 0.05))
    assert complete_skeleton(ImportedDataset("coco", known, (), Notes()), "dog").sigmas == (0.03, 0.05)
    first = np.array([[0.0, 0.0, 2.0], [50.0, 50.0, 2.0]])
    # The nose is 6 pixels off, on a body of 10,000 square pixels; the tail is labeled once alone.
    second = np.array([[6.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    pairs = [RepeatedLabels(first, second, 10_000.0)] * MIN_PAIRS
    assert estimate_sigmas(pairs, 2) == [0.06, None]
    assert estimate_sigmas(pairs[1:], 2) == [None, None]
    dataset = ImportedDataset("coco", SourceSkeleton("dog", names), (), Notes(), tuple(pairs))
    assert complete_skeleton(dataset, "dog").sigmas == (0.06, default_sigma())
    (warning,) = [remark for remark in dataset.notes.remarks if remark.startswith(WARNING)]
    assert "['tail']" in warning


def test_a_shipped_skeleton_is_known():
    coco = load_skeleton("coco_17")
    dataset = ImportedDataset("coco", SourceSkeleton("person", coco.keypoints), (), Notes())
    skeleton = complete_skeleton(dataset, "person")
    assert (skeleton.sigmas, skeleton.limbs, skeleton.groups) == (coco.sigmas, coco.limbs, coco.groups)
    assert set(map(frozenset, skeleton.flip_pairs)) == set(map(frozenset, coco.flip_pairs))


def test_videos_stay_whole():
    videos = ["a"] * 6 + ["b"] * 3 + ["c"] * 3
    dataset = imported([f"{video}/{place}.png" for place, video in enumerate(videos)], videos)
    splits = split_images(dataset, (0.7, 0.3), "auto", 0)
    sides = [{image.video for image in images} for images in splits.values()]
    assert not sides[0] & sides[1]
    assert sum(map(len, splits.values())) == 12
    again = split_images(dataset, (0.7, 0.3), "auto", 0)
    assert again == splits
    folders = split_images(dataset, (0.4, 0.3, 0.3), "folder", 1)
    assert [len({image.video for image in images}) for images in folders.values()] == [1, 1, 1]


def test_one_video_is_cut_into_stretches():
    dataset = imported([f"{place}.png" for place in range(10)], ["film"] * 10)
    splits = split_images(dataset, (0.8, 0.2), "auto", 0)
    assert [image.name for image in splits["val"]] == ["8.png", "9.png"]
    assert any("stretches" in remark for remark in dataset.notes.remarks)


def test_similar_images_stay_together(tmp_path):
    rng = np.random.default_rng(0)
    sources = []
    for place in range(4):
        first = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (80, 60))
        # The second image is the first one, brighter and saved again.
        for copy, pixels in enumerate((first, cv2.convertScaleAbs(first, alpha=0.9, beta=20))):
            sources.append(tmp_path / f"{copy}_{place}.jpg")
            assert cv2.imwrite(str(sources[-1]), pixels)
    person = ImportedPerson(np.array([[1.0, 2.0, 2.0]]))
    # Images of one color are alike, but they are no duplicates.
    plain = [tmp_path / f"plain_{place}.png" for place in range(2)]
    for file in plain:
        Image.new("RGB", (80, 60)).save(file)
    images = tuple(
        ImportedImage(file.name, file, 80, 60, (person,), None, None) for file in [*sources, *plain]
    )
    dataset = ImportedDataset("coco", SourceSkeleton("dog", ("nose",)), images, Notes())
    splits = split_images(dataset, (0.5, 0.5), "similar", 0)
    for split in splits.values():
        places = [image.name[2:] for image in split if not image.name.startswith("plain")]
        assert all(places.count(place) == 2 for place in places)
    assert "split by similar: 6 groups, each wholly in one split" in dataset.notes.remarks


def test_a_second_import_has_the_same_name(yolo, tmp_path):
    for _ in range(2):
        (split,) = import_dataset(yolo, tmp_path / "dogs", ImportOptions(), overwrite=True).splits
        assert resolve_dataset(str(split.definition)) == "dogs_train"
    (built_in,) = import_dataset(yolo, tmp_path / "lspet", ImportOptions()).splits
    assert built_in.dataset == "my_lspet_train"
    (other,) = import_dataset(yolo, tmp_path / "other" / "dogs", ImportOptions()).splits
    with pytest.raises(ValueError, match="have the same name, 'dogs_train': change `name` in one of them"):
        resolve_datasets([str(split.definition), str(other.definition)])
    assert resolve_datasets([str(split.definition)] * 2) == ["dogs_train"] * 2


@pytest.mark.parametrize("shares", [(0.8,), (0.8, 0.3), (1.0, 0.0), (0.5, float("nan")), (0.2,) * 5])
def test_shares_must_be_shares(shares):
    with pytest.raises(UsageError, match="--split must be two or three shares above 0 that add up to 1"):
        split_images(imported(["a.png", "b.png"]), shares, "image", 0)


def test_no_split_is_empty():
    with pytest.raises(UsageError, match="leaves train without images"):
        split_images(imported(["a.png"]), (0.4, 0.6), "image", 0)


def test_there_and_back(yolo, tmp_path):
    (yolo / "data.yaml").write_text(
        (yolo / "data.yaml").read_text().replace("val: images/train", "val: images/val")
        + "kpt_oks_sigmas: [0.02, 0.03, 0.03]\n"
    )
    write_image(yolo / "images" / "val" / "v.png")
    first = import_dataset(yolo, tmp_path / "dogs", ImportOptions())
    export_yolo(tmp_path / "dogs", tmp_path / "yolo_again")
    export_coco(tmp_path / "dogs", tmp_path / "coco", copy=True)
    description = yaml.safe_load((tmp_path / "yolo_again" / "data.yaml").read_text())
    assert (description["kpt_shape"], description["flip_idx"]) == ([3, 3], [0, 2, 1])
    for number, name in enumerate(("yolo_again", "coco")):
        again = import_dataset(tmp_path / name, tmp_path / f"again{number}", ImportOptions())
        assert again.skeleton.flip_pairs == first.skeleton.flip_pairs
        assert [split.images for split in again.splits] == [2, 1]
        for image, other in zip(again.dataset.images, first.dataset.images, strict=True):
            assert (image.width, image.height) == (other.width, other.height)
            for person, same in zip(image.persons, other.persons, strict=True):
                np.testing.assert_allclose(person.keypoints, same.keypoints, atol=1e-4)
                np.testing.assert_allclose(person.enclosing_box(), same.enclosing_box(), atol=1e-4)
    assert description["kpt_oks_sigmas"] == list(first.skeleton.sigmas)


def test_exports_need_images(yolo, tmp_path):
    import_dataset(yolo, tmp_path / "dogs", ImportOptions())
    (yolo / "images" / "train" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.yaml: 1 images do not exist"):
        export_yolo(tmp_path / "dogs", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="has no definition of a dataset"):
        export_yolo(yolo / "images", tmp_path / "out")


def test_thin_persons_have_an_area(tmp_path):
    write_labelme(tmp_path / "in", "a", [point("head", 5, 9), point("tail", 25, 9)])
    import_dataset(tmp_path / "in", tmp_path / "out", ImportOptions())
    (person,) = json.loads((tmp_path / "out" / "annotations" / "train.json").read_text())["annotations"]
    assert person["bbox"] == [5, 9, 20, 0]
    assert person["area"] == pytest.approx(0.53 * 20 * 5)
