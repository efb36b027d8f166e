"""Deletes the top-level package ``tools`` that installing Detectron2 leaves in site-packages.

It holds Detectron2's own command lines, is of no use outside its repository, and would shadow any other
folder of that name. Only files that Detectron2's own record lists are touched.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

for name in ("detectron2", "pb1-detectron2"):
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        continue
    stray = [Path(str(file.locate())) for file in files if file.parts[0] == "tools"]
    for path in stray:
        path.unlink(missing_ok=True)
    for folder in sorted({path.parent for path in stray}, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
