"""The models that come with the project: their cards, their files, and the table of them."""

import hashlib
import sys

import pytest
import yaml
from helpers.processes import run_python

from posecore import models
from posecore.config.errors import UsageError
from posecore.models import default_model, find_model, list_models, model_table

CONTENT = b"weights"
CARD = {
    "name": "toy_hands",
    "file": "toy_hands.safetensors",
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "method": "ToyPose",
    "skeleton": "hands",
    "finds_people": True,
    "data": "drawn dots",
    "data_license": "CC0",
    "license": "Apache-2.0",
    "figures": {"PCK@0.2": 71.25, "AP": 40.0},
    "command": "python tools/train_net.py --config-file toy.yaml",
    "limits": ["Finds one person in each image."],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("POSECORE_MODELS", str(tmp_path))
    return tmp_path


def write(folder, **changes):
    card = {**CARD, **changes}
    (folder / f"{card['name']}.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    (folder / str(card["file"])).write_bytes(CONTENT)


def test_a_model_is_two_files_in_the_folder(folder):
    write(folder)
    card = find_model("toy_hands")
    assert card.checked_file() == folder / "toy_hands.safetensors"
    assert card.figures == {"PCK@0.2": 71.25, "AP": 40.0}
    assert card.summary() == "toy_hands (ToyPose, trained on drawn dots; license of the data: CC0)"


def test_the_table_has_columns_of_equal_width(folder):
    write(folder, default=True)
    write(folder, name="longer_name", file="b.safetensors", finds_people=False)
    (folder / "b.safetensors").unlink()
    lines = model_table(list_models()).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]] == [
        [
            "longer_name",
            "ToyPose",
            "hands",
            "no, needs boxes",
            "drawn dots",
            "CC0",
            "PCK@0.2 71.25, AP 40.0",
            "missing",
        ],
        [
            "toy_hands (default)",
            "ToyPose",
            "hands",
            "yes",
            "drawn dots",
            "CC0",
            "PCK@0.2 71.25, AP 40.0",
            "0.0",
        ],
    ]


def test_a_file_that_is_not_that_of_its_card(folder):
    write(folder)
    (folder / "toy_hands.safetensors").write_bytes(b"weightS")
    with pytest.raises(UsageError, match=r"model toy_hands: .* is not the file of its card, or is damaged"):
        find_model("toy_hands").checked_file()
    (folder / "toy_hands.safetensors").unlink()
    with pytest.raises(UsageError, match="does not exist, which its card names"):
        find_model("toy_hands").checked_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "name must be that of the file, toy_hands, not other"),
        ({"sha256": "abc"}, "sha256 must be 64 hexadecimal digits"),
        ({"file": "../toy.safetensors"}, "file must name a .safetensors beside the card"),
        ({"file": "toy.pth"}, "file must name a .safetensors beside the card"),
        ({"finds_people": "yes please"}, "finds_people must be true or false"),
        ({"data_license": ""}, "data_license must be text, not ''"),
        ({"figures": {"AP": "high"}}, "figures must map names of measures to numbers"),
        ({"figures": {}}, "figures must be a mapping, not {}"),
        ({"limits": [3]}, "limits must be a list of sentences; 3 is none"),
        ({"terms": "free"}, r"unknown keys \['terms'\]"),
    ],
)
def test_faults_of_a_card_name_file_and_key(folder, changes, message):
    (folder / "toy_hands.yaml").write_text(yaml.safe_dump({**CARD, **changes}))
    with pytest.raises(UsageError, match=rf"model card .*toy_hands\.yaml: {message}"):
        list_models()


@pytest.mark.parametrize("text", ["[1]", "a: [", ""])
def test_files_that_are_no_cards(folder, text):
    (folder / "toy_hands.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"model card .*toy_hands\.yaml"):
        list_models()


def test_a_card_without_a_key(folder):
    (folder / "toy_hands.yaml").write_text(yaml.safe_dump({k: v for k, v in CARD.items() if k != "limits"}))
    with pytest.raises(UsageError, match=r"missing keys \['limits'\]"):
        list_models()


def test_one_model_at_most_is_the_default(folder):
    with pytest.raises(
        UsageError, match=r"none comes with the project \(.* has no cards\): give --config-file"
    ):
        default_model()
    write(folder)
    write(folder, name="first", default=True)
    assert default_model().name == "first"
    write(folder, name="second", default=True)
    with pytest.raises(UsageError, match="one model can be the default, not first, second"):
        default_model()


def test_unknown_names(folder):
    with pytest.raises(UsageError, match=r"no model is called 'toy': .* has no cards"):
        find_model("toy")
    write(folder)
    with pytest.raises(UsageError, match="no model is called 'toy': there are toy_hands"):
        find_model("toy")


def test_an_installed_package_has_no_folder_of_its_own(tmp_path, monkeypatch):
    """A folder models/ of something else may lie beside it."""
    monkeypatch.delenv("POSECORE_MODELS", raising=False)
    monkeypatch.setattr(models, "REPOSITORY", tmp_path)
    (tmp_path / "models").mkdir()
    write(tmp_path / "models")
    assert list_models() == []
    with pytest.raises(UsageError, match="not in installed packages"):
        default_model()
    (tmp_path / "pyproject.toml").write_text("")
    assert [card.name for card in list_models()] == ["toy_hands"]


def test_the_command_line(folder, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["posecore.models", *arguments])
        models.main()
        return capsys.readouterr().out

    assert run() == f"no models: {folder} has no cards\n"
    write(folder)
    assert run() == f"{model_table(list_models())}\n"
    assert run("--check").endswith("toy_hands.safetensors is as its card says\n")
    (folder / "toy_hands.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="damaged"):
        run("--check")


def test_the_command_line_has_one_line_for_what_is_wrong(root, folder):
    (folder / "toy.yaml").write_text("[]")
    command = ["-m", "posecore.models"]
    done = run_python(command, cwd=root)
    assert done.returncode == 1
    assert done.stderr.startswith("posecore.models: model card")
    assert done.stderr.count("\n") == 1


def test_the_models_of_the_checkout(root, monkeypatch):
    """Their files are those of their cards, small, and listed in the documentation."""
    monkeypatch.delenv("POSECORE_MODELS", raising=False)
    cards = list_models()
    files = [card.checked_file() for card in cards]
    assert sum(file.stat().st_size for file in files) <= 12e6
    assert {file.name for file in (root / "models").glob("*.safetensors")} == {file.name for file in files}
    table = model_table(cards) if cards else "No model comes with the project yet."
    assert table in (root / "docs" / "models.md").read_text(), "python -m posecore.models prints the table"
    assert not cards or sum(card.default for card in cards) == 1
