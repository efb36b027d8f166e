"""Files that tests read or write: folders of shared data, and changed annotations."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def shared_folder(shared: Path, name: str) -> Path:
    """The folder of a name in the shared data; a test without it is skipped."""
    folder = shared / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}")
    return folder


def write_changed(file: Path, content: Any, change: Callable[[Any], object]) -> Path:
    """Writes JSON after a change of its content, and returns the file."""
    change(content)
    file.write_text(json.dumps(content))
    return file
