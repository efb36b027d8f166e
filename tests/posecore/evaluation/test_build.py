"""Which evaluator a dataset gets, and what it makes of a model that finds everybody."""

import json
import math
from pkgutil import resolve_name

import pytest
import scipy.io
import yaml
from detectron2.evaluation import inference_on_dataset
from helpers.coco_annotations import instances
from helpers.configs import override_list
from helpers.support import core_cfg
from torch import nn

from posecore.data import build_test_loader, load_dataset
from posecore.data.formats import FORMATS
from posecore.data.synthetic import make_dataset
from posecore.evaluation import (
    COCOPoseEvaluator,
    CrowdPoseEvaluator,
    MPIIEvaluator,
    PCKEvaluator,
    PoseEvaluator,
    WholeBodyEvaluator,
    build_evaluator,
)
from posecore.structures.skeleton import load_skeleton

SKELETONS = {
    "coco": "coco_17",
    "crowdpose": "crowdpose_14",
    "coco_wholebody": "coco_wholebody_133",
    "mpii": "mpii_16",
    "pck": "lsp_14",
}
EVALUATORS = {
    "coco": COCOPoseEvaluator,
    "crowdpose": CrowdPoseEvaluator,
    "coco_wholebody": WholeBodyEvaluator,
    "mpii": MPIIEvaluator,
    "pck": PCKEvaluator,
}
# The tasks of formats that have others than "keypoints".
TASKS = {"mpii": ["pckh"], "pck": ["pck", "pck_better_sides", "keypoints"]}


class Knowing(nn.Module):
    """Returns the ground truth of the images it is shown."""

    def __init__(self, records):
        super().__init__()
        self.records = {record["image_id"]: record for record in records}

    def forward(self, batch):
        return [{"instances": self._found(self.records[image["image_id"]])} for image in batch]

    def _found(self, record):
        people = record["annotations"]
        boxes = [[x, y, x + width, y + height] for x, y, width, height in (p["bbox"] for p in people)]
        keypoints = [[p["keypoints"][i : i + 3] for i in range(0, len(p["keypoints"]), 3)] for p in people]
        return instances(keypoints, boxes=boxes)


def convert(content, kind):
    """Annotations of drawn figures in another format."""
    if kind == "crowdpose":
        for index, image in enumerate(content["images"]):
            image["crowdIndex"] = index / len(content["images"])
    if kind == "coco_wholebody":
        content["categories"][0]["keypoints"] = content["categories"][0]["keypoints"][:17]
        for person in content["annotations"]:
            values = person["keypoints"]
            ends = {"foot_kpts": 23, "face_kpts": 91, "lefthand_kpts": 112, "righthand_kpts": 133}
            for (key, end), start in zip(ends.items(), (17, *ends.values()), strict=False):
                person[key] = values[3 * start : 3 * end]
            person["keypoints"] = values[: 3 * 17]
    if kind == "mpii":
        names = {image["id"]: image["file_name"] for image in content["images"]}
        return [mpii_person(person, names[person["image_id"]]) for person in content["annotations"]]
    return content


def mpii_person(person, image):
    points = [person["keypoints"][i : i + 3] for i in range(0, 48, 3)]
    x, y, width, height = person["bbox"]
    return {
        "image": image,
        "center": [x + width / 2, y + height / 2],
        "scale": max(width, height) / 200,
        "joints": [[x + 1, y + 1] for x, y, _ in points],
        "joints_vis": [int(v > 0) for *_, v in points],
    }


@pytest.fixture(params=SKELETONS)
def kind(request):
    return request.param


@pytest.fixture
def cfg(kind, tmp_path):
    """Four images of one person each, in the format that is asked for."""
    skeleton = SKELETONS[kind]
    scene = {"people": (1, 1), "cut": 0, "objects": 0, "skeleton": skeleton}
    path = make_dataset(tmp_path, num_images=4, size=(60, 80), name="drawn", **scene)
    definition = yaml.safe_load(path.read_text()) | {"format": kind}
    annotations = tmp_path / definition["annotations"]
    people = convert(json.loads(annotations.read_text()), kind)
    annotations.write_text(json.dumps(people))
    if kind == "mpii":
        definition["ground_truth"] = "gt.mat"
        heads = [[[0.0] * len(people)] * 2, [[8.0] * len(people)] * 2]
        missing = [[1 - person["joints_vis"][k] for person in people] for k in range(16)]
        joints = [[[person["joints"][k][i] for person in people] for i in range(2)] for k in range(16)]
        content = {"headboxes_src": heads, "jnt_missing": missing, "pos_gt_src": joints}
        scipy.io.savemat(tmp_path / "gt.mat", content)
    path.write_text(yaml.safe_dump(definition))
    return core_cfg(
        *override_list(
            {
                "DATASETS.DEFINITIONS": (str(path),),
                "DATASETS.SKELETON": skeleton,
                "DATASETS.TEST": (definition["name"],),
                "OUTPUT_DIR": str(tmp_path / "out"),
                "DATALOADER.NUM_WORKERS": 0,
            }
        ),
    )


def test_every_format_names_an_evaluator():
    assert FORMATS.keys() == EVALUATORS.keys()
    for key, format in FORMATS.items():
        assert issubclass(resolve_name(format.evaluator), PoseEvaluator), key


def test_each_format_by_its_own_protocol(cfg, kind, tmp_path):
    (name,) = cfg.DATASETS.TEST
    evaluator = build_evaluator(cfg, name)
    assert type(evaluator._evaluators[0]) is EVALUATORS[kind]
    model = Knowing(load_dataset(name, load_skeleton(SKELETONS[kind])))
    results = inference_on_dataset(model, build_test_loader(cfg, name), evaluator)
    assert list(results) == TASKS.get(kind, ["keypoints"])
    for metrics in results.values():
        assert {round(value, 3) for value in metrics.values() if not math.isnan(value)} == {100.0}
    assert (tmp_path / "out" / "previews.png").is_file()
    assert (tmp_path / "out" / "inference" / name / "coco_instances_results.json").is_file()
