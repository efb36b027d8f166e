"""The project speaks the field's words, in American spelling: what the list forbids stands nowhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".py", ".md", ".yaml", ".toml", ".txt", ".cpp", ".h", ".cu", ".cuh"}
FOLDERS = (
    "configs",
    "csrc",
    "datasets",
    "directpose",
    "docs",
    "fcpose",
    "grouppose",
    "inspose",
    "models",
    "poet",
    "posecore",
    "poseur",
    "requirements",
    "tests",
    "tools",
)
# Pattern -> the word that is used instead.
WORDS = {
    r"pictur": "image",
    r"(?<!ground[ _-])(?<!ground)truth": "ground truth, gt_",
    r"\btrue (pose|keypoint|person|point|center|box)": "ground-truth ...",
    r"mirror": "flip, flipped",
    r"\bdoubles\b": "duplicates",
    r"centre|colour|grey|behaviour|neighbour|labell|licence|catalogue": "American spelling",
    r"(normal|initial|optim|general|recogn|random|summar|minim|maxim)is(e|ing|ation)\b": "-ize, -ization",
    r"divisor": "normalizer",
    r"how_to_(train|decode|score)|\bhow\.py": "training settings, inference settings",
    r"\bwhoever\b|\bwho has\b|\bwho have\b": "a plain sentence with a subject",
    r"INPUT\.VIEW|\bViews?\b|\bbuild_view\b": "samples",
    r"\bSoftened\b|\bSurvivors\b|\bclass (Found|Dense|Scored|Term)\b": "a noun that says what it holds",
    r"\breleased\b|\bRELEASED\b|\bauthors\b|_authors\b": "official",
    r"\boutcomes?\b": "results",
}
# Words of others: names in the files of reference numbers and of weights.
ALLOWED = {
    "CHANGELOG.md": r"`[A-Z._]+`",
    "tests/directpose/test_goldens_decode.py": r"(manifest|kpalign)_authors",
    "tests/directpose/test_goldens_head.py": r"(manifest|kpalign)_authors",
    "tests/directpose/test_goldens_losses.py": r"(targets|kpalign)_authors|authors_|\"authors\"",
    "tests/grouppose/test_goldens_training.py": r"\"labelled\"",
    "tests/helpers/poseur_oracle.py": r"\.centre",
    "tests/posecore/checkpoint/test_backbone_names.py": r"centre",
    "tests/posecore/engine/test_solver.py": r"manifest_authors",
    "tests/posecore/data/formats/test_mpii.py": r"mpii\.centre",
    "tests/poseur/test_goldens_crops.py": r"mpii\.centre|centre_scale",
    "tests/poseur/test_goldens_training.py": r"losses_2022_normalisation",
    "tests/test_words.py": r".*",
    "docs/stability.md": r"released",
}


def files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    found += [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile"]
    return sorted(path for path in found if "__pycache__" not in path.parts and path.name != "LICENSE")


def lines(pattern: str) -> list[str]:
    """The lines that hold a pattern, but for those that are allowed."""
    wrong = []
    for path in files():
        name = str(path.relative_to(ROOT))
        allowed = ALLOWED.get(name)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            rest = re.sub(allowed, "", line) if allowed else line
            if re.search(pattern, rest, re.IGNORECASE if pattern.islower() else 0):
                wrong.append(f"{name}:{number}: {line.strip()}")
    return wrong


@pytest.mark.parametrize(("pattern", "instead"), WORDS.items())
def test_words(pattern: str, instead: str) -> None:
    wrong = lines(pattern)
    assert not wrong, f"write {instead!r}:\n" + "\n".join(wrong[:20])


def test_the_files_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in files()}
    assert {"README.md", "Makefile", "posecore/__init__.py", "csrc/bilinear.h", "docs/data.md"} <= names
