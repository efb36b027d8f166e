"""Annotation files that people reported: each is refused by a clear message, or evaluated to AP 100."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from posecore.data import dataset_metadata, load_dataset, read_dataset, register_definitions
from posecore.evaluation.coco import score
from posecore.evaluation.dataset_check import check_dataset

# Folder of the input -> what the message must say.
REFUSED = {
    "annotation_text": "annotation at index 4 must be an object with id, image_id, category_id",
    "annotations_dict": "'annotations' must be a list",
    "bool_image_ids": "image at index 0: id must be an integer of 64 bits or text, not True",
    "categories_dict": "'categories' must be a list",
    "category_null_entry": "category at index .* must be an object with id, not None",
    "cvat_k1": "annotation 1: area must be a finite number above 0, not 0, or bbox must",
    "enormous_x": "annotation 1: keypoints must be a list of x, y and v of each keypoint, finite",
    "images_empty": "'images' is empty",
    "images_null_entry": "image at index .* must be an object with id, file_name, height, width, not None",
    "iscrowd_string": "annotation 1: iscrowd must be 0 or 1, or false or true, not '0'",
    "list_image_ids": "image at index 0: id must be an integer of 64 bits or text",
}
# Folder of the input -> a warning about every person; None where the input is as good as any.
EVALUATED = {
    "area_bool": "4 of 4 annotations have no valid area",
    "area_list": "4 of 4 annotations have no valid area",
    "area_nan": "4 of 4 annotations have no valid area",
    "area_negative": "4 of 4 annotations have no valid area",
    "area_one": "4 of 4 annotations have an area below 2% or above 105% of their box",
    "area_string": "4 of 4 annotations have no valid area",
    "area_zero": "4 of 4 annotations have no valid area",
    "backslash_names": None,
    "category_7": None,
    "category_string_id": None,
    "float_image_ids": None,
    "negative_image_ids": None,
    "polygon_2": "4 of 4 annotations have a segmentation that is no valid one",
    "polygon_4_only": "4 of 4 annotations have a segmentation that is no valid one",
    "polygon_empty": "4 of 4 annotations have no valid area",
    "polygon_flat": "4 of 4 annotations have a segmentation that is no valid one",
    "segmentation_dict_empty": "4 of 4 annotations have a segmentation that is no valid one",
    "segmentation_rle_bad": "4 of 4 annotations have a segmentation that is no valid one",
    "segmentation_rle_other_size": "4 of 4 annotations have a segmentation that is no valid one",
    "segmentation_text": "4 of 4 annotations have a segmentation that is no valid one",
    "string_image_ids": None,
}


@pytest.fixture
def fault(shared):
    """Registers the dataset of an input; forgets it afterwards."""
    names = []

    def add(name):
        folder = Path(shared, "data", "faults", name)
        if not folder.is_dir():
            pytest.skip(f"no input {folder}")
        names.extend(register_definitions([folder / "data.yaml"]))
        return names[-1]

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(fault, name):
    skeleton = dataset_metadata(fault(name)).skeleton
    with pytest.raises(ValueError, match=REFUSED[name]) as error:
        load_dataset(name, skeleton)
    assert "ann.json" in str(error.value)


@pytest.mark.parametrize("name", EVALUATED)
@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_evaluated(fault, name, backend, caplog):
    skeleton = dataset_metadata(fault(name)).skeleton
    content = read_dataset(name, skeleton)
    warning = EVALUATED[name]
    if warning is None:
        assert not caplog.records
    else:
        assert warning in caplog.text
        assert "ann.json" in caplog.text
    results = [
        {key: person[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        for person in content["annotations"]
    ]
    assert score(content, results, "keypoints", skeleton.sigmas, backend)["AP"] == pytest.approx(100)
    for record in load_dataset(name, skeleton):
        assert Path(record["file_name"]).is_file()
    report = check_dataset(name)
    assert report.errors == []


def test_no_annotation(fault):
    skeleton = dataset_metadata(fault("annotations_empty")).skeleton
    assert all(record["annotations"] == [] for record in load_dataset("annotations_empty", skeleton))
    assert check_dataset("annotations_empty").errors == ["no person has a labeled keypoint"]
