"""Every folder of faulty inputs has its right value in a table or test of this folder."""

from pathlib import Path


def test_every_folder_is_tested(faults: Path) -> None:
    tests = "".join(file.read_text() for file in sorted(Path(__file__).parent.glob("test_*.py")))
    missing = [folder.name for folder in sorted(faults.iterdir()) if f'"{folder.name}"' not in tests]
    assert not missing
