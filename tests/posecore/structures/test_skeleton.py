"""Skeletons: what is shipped, and what is refused."""

import json
from dataclasses import replace

import pytest
import yaml
from helpers.skeletons import STICK
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from posecore.structures.skeleton import SHIPPED, Skeleton, load_skeleton


def as_mapping(skeleton: Skeleton) -> dict:
    return {
        "name": skeleton.name,
        "keypoints": list(skeleton.keypoints),
        "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
        "limbs": [list(pair) for pair in skeleton.limbs],
        "sigmas": list(skeleton.sigmas),
    }


@pytest.mark.parametrize(
    ("name", "num_keypoints", "num_groups"),
    [
        ("coco_17", 17, 9),
        ("crowdpose_14", 14, 9),
        ("lsp_14", 14, 9),
        ("mpii_16", 16, 10),
        ("coco_wholebody_133", 133, 14),
    ],
)
def test_shipped_skeletons(name, num_keypoints, num_groups):
    skeleton = load_skeleton(name)
    assert skeleton.name == name
    assert skeleton.num_keypoints == num_keypoints
    assert len(skeleton.groups) == num_groups
    flip = skeleton.flip_indices
    assert [flip[flip[k]] for k in range(num_keypoints)] == list(range(num_keypoints))
    for k, keypoint in enumerate(skeleton.keypoints):
        expected = keypoint.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        if "face" not in keypoint:
            assert skeleton.keypoints[flip[k]] == expected
        if "left" in keypoint:
            assert skeleton.sides[k] == "left"


def test_every_shipped_file_is_tested():
    assert len(list(SHIPPED.glob("*.yaml"))) == 5


def test_lsp_14_has_the_facts_of_the_shared_data(shared):
    facts = json.loads((shared / "data" / "skeletons" / "lsp_14.json").read_text())
    ours = as_mapping(load_skeleton("lsp_14"))
    assert ours == {key: facts[key] for key in ours}


def test_coco_sigmas_are_those_of_pycocotools():
    assert load_skeleton("coco_17").sigmas == pytest.approx(Params("keypoints").kpt_oks_sigmas, abs=1e-9)


def test_groups_default_to_one_per_keypoint():
    assert STICK.group_indices == ((0,), (1,), (2,), (3,), (4,))


def test_derived_indices():
    assert STICK.flip_indices == (0, 2, 1, 4, 3)
    assert STICK.limb_indices == ((0, 1), (0, 2), (0, 3), (0, 4))
    assert STICK.sides == ("middle", "left", "right", "left", "right")
    assert replace(
        STICK, groups=(("right_foot", "head"), ("left_hand",), ("right_hand", "left_foot"))
    ).group_indices == (
        (4, 0),
        (1,),
        (2, 3),
    )


@given(st.data())
def test_flip_indices_are_an_involution_whatever_the_pairs(data):
    count = data.draw(st.integers(1, 30))
    names = data.draw(st.permutations([f"k{index}" for index in range(count)]))
    pairs = data.draw(st.integers(0, count // 2))
    skeleton = Skeleton(
        name="any",
        keypoints=tuple(f"k{index}" for index in range(count)),
        flip_pairs=tuple((names[2 * i], names[2 * i + 1]) for i in range(pairs)),
        limbs=(),
        sigmas=(0.1,) * count,
    )
    flip = skeleton.flip_indices
    assert [flip[flip[k]] for k in range(count)] == list(range(count))
    assert sum(flip[k] != k for k in range(count)) == 2 * pairs


@given(
    st.lists(
        st.sampled_from([0.1, 0.0, -1.0, float("nan"), float("inf"), "0.1", True]), min_size=3, max_size=7
    )
)
def test_only_five_positive_numbers_are_sigmas_of_five_keypoints(sigmas):
    if sigmas == [0.1] * 5:
        replace(STICK, sigmas=tuple(sigmas))
    else:
        with pytest.raises(ValueError, match="sigma"):
            replace(STICK, sigmas=tuple(sigmas))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": ()}, "no keypoints"),
        ({"keypoints": ("head", "head", "c", "d", "e")}, r"repeated: \['head'\]"),
        ({"keypoints": ("head", "left_hand", "right_hand", "left_foot", False)}, "quote them"),
        ({"sigmas": (0.1,) * 4}, "each of 5 keypoints, not 4"),
        ({"sigmas": (True,) * 5}, "the sigma of 'head' must be a number, not True"),
        ({"sigmas": ()}, "each of 5 keypoints, not 0"),
        ({"flip_pairs": (("left_hand", "right_hand"),)}, r"\['left_foot', 'right_foot'\]"),
        ({"flip_pairs": ()}, r"\['left_hand', 'right_hand'\]"),
        ({"flip_pairs": (("right_hand", "left_hand"), ("left_foot", "right_foot"))}, "left one first"),
        ({"flip_pairs": (("left_hand", "right_foot"), ("left_foot", "right_hand"))}, "must hold"),
        ({"flip_pairs": (("left_hand", "right_hand"), ("left_hand", "head"))}, "one flip pair only"),
        ({"flip_pairs": (("head", "head"),)}, "two different"),
        ({"flip_pairs": (("left_hand", "paw"),)}, r"unknown keypoints: \['paw'\]"),
        ({"limbs": (("head", "tail"),)}, r"unknown keypoints: \['tail'\]"),
        ({"limbs": (("head", "left_hand"), ("left_hand", "head"))}, "limbs must differ"),
        ({"limbs": (("head",),)}, "two different"),
        ({"groups": (("head", "left_hand"), ())}, "must not be empty"),
        ({"groups": (("head",), ("left_hand", "right_hand"))}, r"missing: \['left_foot', 'right_foot'\]"),
        ({"groups": (STICK.keypoints, ("head",))}, "one group only"),
        ({"body_halves": {"upper": ("head",)}}, "'upper' and 'lower'"),
        ({"body_halves": {"upper": ("head",), "lower": ("head",)}}, "one of the body_halves"),
        ({"body_halves": {"upper": ("hat",), "lower": ()}}, r"\['hat'\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        replace(STICK, **change)
    assert "skeleton 'stick'" in str(caught.value)


def test_reads_a_file(tmp_path):
    path = tmp_path / "stick.yaml"
    path.write_text(yaml.safe_dump(as_mapping(STICK)))
    assert load_skeleton(path) == load_skeleton(str(path)) == STICK


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": [1]}, r"unknown keys \['sigma'\]"),
        ({"sigmas": None}, "sigmas must be a list"),
        ({"name": 17}, "name must be a string"),
        ({"keypoints": "head"}, "keypoints must be a list"),
        ({"limbs": ["head", "left_hand"]}, "list of lists"),
        ({"groups": ["head"]}, "list of lists"),
        ({"body_halves": ["head"]}, "body_halves must map"),
        ({"sigmas": [0.1]}, "skeleton 'stick': sigmas"),
    ],
)
def test_a_bad_file_is_named(tmp_path, change, message):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(as_mapping(STICK) | change))
    with pytest.raises(ValueError, match=message) as caught:
        load_skeleton(path)
    assert str(path) in str(caught.value)


def test_sigmas_and_flip_pairs_are_mandatory(tmp_path):
    path = tmp_path / "bare.yaml"
    path.write_text(yaml.safe_dump({"name": "bare", "keypoints": ["a"], "limbs": []}))
    with pytest.raises(ValueError, match=r"missing keys \['flip_pairs', 'sigmas'\]"):
        load_skeleton(path)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "name: [unclosed", b"\xff\xfe"])
def test_files_that_are_no_mapping(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"broken\.yaml"):
        load_skeleton(path)


def test_missing_skeletons_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"'coco_71'.*coco_17"):
        load_skeleton("coco_71")
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        load_skeleton(tmp_path / "gone.yaml")
