"""Chooses what a source leaves open: its category, the names of its keypoints, one of several files.

The options of ``tools/import_dataset.py`` decide (:class:`posecore.data.importers.options.ImportOptions`);
where they do not, either there is one possibility, or an error says which option is missing.
"""

from collections.abc import Iterable
from pathlib import Path

from posecore.data.importers.notes import NUM_EXAMPLES, Notes
from posecore.data.importers.options import ImportOptions


def choose_category(names: Iterable[str], wanted: str | None, where: Path) -> str:
    """The category that is imported: the wanted one, or the only one.

    Args:
        names: of the categories that have keypoints.
        wanted: that of --category.
        where: the file, for messages.

    Raises:
        ValueError: there is none, or no such one, or several and none is wanted.
    """
    names = list(dict.fromkeys(names))
    if not names:
        raise ValueError(f"{where} has no category with keypoints")
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"--category must be one of {names} ({where}), not {wanted!r}")
        return wanted
    if len(names) > 1:
        raise ValueError(
            f"{where} has several categories with keypoints, {names}, and a dataset has one: choose it with "
            "--category"
        )
    return names[0]


def named_keypoints(options: ImportOptions, count: int, where: Path, notes: Notes) -> tuple[str, ...]:
    """The names of keypoints where a format has none: those of --keypoints, else kp0, kp1 and so on.

    Raises:
        ValueError: --keypoints has another number of names.
    """
    if options.keypoints is None:
        notes.remark(
            f"{where.name} does not name its keypoints: they are called kp0 to kp{count - 1}; --keypoints "
            "FILE gives names, one per line"
        )
        return tuple(f"kp{index}" for index in range(count))
    if len(options.keypoints) != count:
        raise ValueError(
            f"--keypoints has {len(options.keypoints)} names, but {where} has {count} keypoints per person"
        )
    return options.keypoints


def only_file(files: list[Path], source: Path, what: str) -> Path:
    """The only file of a kind in a source.

    Raises:
        ValueError: there is none, or there are several; ``what`` completes "must have one ...".
    """
    if not files:
        raise ValueError(f"{source} has no {what}")
    if len(files) > 1:
        found = ", ".join(map(str, files[:NUM_EXAMPLES]))
        raise ValueError(f"{source} must have one {what}, not {len(files)} ({found}): name one of them")
    return files[0]


def remark_order(names: Iterable[str], reason: str, notes: Notes) -> None:
    """Notes that keypoints are in the order in which they first occur, because the source has none."""
    notes.remark(
        f"{reason}: the keypoints are in the order in which they first occur, {list(names)}; --keypoints "
        "FILE gives another, one name per line"
    )
