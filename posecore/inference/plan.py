"""Plans a prediction before anything is read or written: :func:`plan_prediction`.

The rule of names. An image or film is called by its file name, an image of a folder source by its path from
that folder, a camera ``camera0`` and a stream by its address. Where two files would have the same name, both
get as many of the folders above them as it takes: ``a/1.jpg`` and ``b/1.jpg``. These names are the keys in
poses.json and for files of boxes. A drawing has the name of its image, with ``.png`` behind an ending that
OpenCV does not write, and a drawn film the name of its film with the ending ``.mp4``. Where two drawings
would then be the same file, ``.mp4`` or ``.png`` comes behind the whole name: ``film.avi.mp4``.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from posecore.config.merge import UsageError
from posecore.inference.records import read_records, unfinished_records
from posecore.inference.video import Source, list_sources

POSES = "poses.json"
# poses.json while it is written, and what a run that was broken off leaves beside that of an earlier run.
UNFINISHED = "poses.json.part"
BROKEN_OFF = "poses.partial.json"
# Endings of images that OpenCV writes.
_WRITABLE = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class PredictionPlan:
    """What a prediction reads and where it writes.

    Attributes:
        sources: with names that differ, in the order in which they are read.
        folder: of the output.
        drawings: the drawing of each source by the source's name, relative to the folder.
    """

    sources: tuple[Source, ...]
    folder: Path
    drawings: Mapping[str, str]


def plan_prediction(
    sources: Iterable[str | Path],
    folder: Path,
    *,
    inputs: Iterable[Path] = (),
    outputs: Iterable[str] = (),
) -> PredictionPlan:
    """The plan for sources (:func:`posecore.inference.video.list_sources`) and an output folder.

    The output folder may lie in a folder source; the images in it are then no inputs. A source that is given
    twice is read once.

    Args:
        sources: as for :func:`list_sources`.
        folder: of the output; it need not exist.
        inputs: other files that are read, such as one of boxes.
        outputs: names of other files in the output folder that are written.

    Raises:
        FileNotFoundError, ValueError: a source is missing, or is neither an image nor a video.
        UsageError: a file that would be written is an input, or one in a folder of inputs that is no drawing
            of an earlier prediction; or the output folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder} is a file: it must be a folder")
    listed: dict[str, Source] = {}
    roots: list[Path] = []
    for given in sources:
        if Path(given).is_dir():
            roots.append(Path(given).resolve())
        if folder.is_dir() and Path(given).is_dir() and folder.samefile(given):
            raise UsageError(
                f"--output {folder} is the input folder {given}: drawings would be read as images; choose "
                "another folder, which may lie in it"
            )
        for source in list_sources(given, excluded=folder):
            key = source.address if source.kind == "live" else os.path.abspath(source.address)
            listed.setdefault(key, source)
    named = _distinct(list(listed.values()))
    drawings = _drawings(named)
    plan = PredictionPlan(tuple(named), folder, drawings)
    _check_targets(plan, inputs, (POSES, *outputs), roots)
    return plan


def drawing_name(name: str, is_video: bool) -> str:
    """The drawing of an image or video by its name, where no other source has the same."""
    path = Path(name)
    if is_video:
        return str(path.with_suffix(".mp4"))
    return name if path.suffix.lower() in _WRITABLE else f"{name}.png"


def whole_drawing_name(name: str, is_video: bool) -> str:
    """The drawing of an image or video where another source would have that of :func:`drawing_name`."""
    return f"{name}.mp4" if is_video else f"{name}.png"


def _distinct(sources: list[Source]) -> list[Source]:
    """The sources with names that differ."""
    depths = [len(Path(source.name).parts) for source in sources]
    names = [source.name for source in sources]
    paths = [Path(os.path.abspath(source.address)).parts[1:] for source in sources]
    changed = True
    while changed:
        changed = False
        for indices in _repeated(names):
            for index in indices:
                if sources[index].kind != "live" and depths[index] < len(paths[index]):
                    depths[index] += 1
                    names[index] = str(Path(*paths[index][-depths[index] :]))
                    changed = True
    _number(names, lambda name, number: f"{name}_{number}")
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def _drawings(sources: list[Source]) -> dict[str, str]:
    """The drawing of each source, all different."""
    are_videos = [source.kind != "image" for source in sources]
    names = [drawing_name(source.name, video) for source, video in zip(sources, are_videos, strict=True)]
    for indices in _repeated(names):
        for index in indices:
            names[index] = whole_drawing_name(sources[index].name, are_videos[index])
    _number(names, lambda name, number: str(Path(name).with_suffix(f".{number}{Path(name).suffix}")))
    return {source.name: name for source, name in zip(sources, names, strict=True)}


def _repeated(names: list[str]) -> list[list[int]]:
    """The indices of every name that stands more than once."""
    indices = defaultdict(list)
    for index, name in enumerate(names):
        indices[name].append(index)
    return [same for same in indices.values() if len(same) > 1]


def _number(names: list[str], numbered: Callable[[str, int], str]) -> None:
    """Numbers names that are still the same, from their second on."""
    taken = Counter(names)
    for indices in _repeated(names):
        for index in indices[1:]:
            number = 2
            while numbered(names[index], number) in taken:
                number += 1
            names[index] = numbered(names[index], number)
            taken[names[index]] += 1


def _check_targets(
    plan: PredictionPlan, inputs: Iterable[Path], results: tuple[str, ...], roots: list[Path]
) -> None:
    """Refuses a plan that would overwrite an input, or another file beside the inputs.

    Args:
        plan: the plan.
        inputs: other files that are read.
        results: names of the files in the output folder that are written beside drawings.
        roots: the folders among the sources.
    """
    files = [Path(source.address) for source in plan.sources if source.kind != "live"]
    sources = {identity for file in files if (identity := _identity(file))}
    others = {identity: file for file in inputs if (identity := _identity(file))}
    homes = {file.parent.resolve() for file in files}
    earlier: set[str] | None = None
    for drawing in [*plan.drawings.values(), *results]:
        target = plan.folder / drawing
        identity = _identity(target)
        if identity is None:
            continue
        if identity in sources:
            raise UsageError(
                f"--output {plan.folder}: the drawing {target} would overwrite an input; choose a folder "
                "without inputs"
            )
        if identity in others:
            raise UsageError(
                f"--output {plan.folder}: {target} is read ({others[identity]}) and would be overwritten; "
                "choose another folder"
            )
        near = target.parent.resolve() in homes or any(
            target.resolve().is_relative_to(root) for root in roots
        )
        if drawing not in results and near:
            earlier = _earlier_drawings(plan.folder) if earlier is None else earlier
            if drawing not in earlier:
                raise UsageError(
                    f"--output {plan.folder}: {target} exists beside the inputs and is no drawing of "
                    f"{plan.folder / POSES}; choose another folder"
                )


def _identity(file: Path) -> tuple[int, int] | None:
    """What two paths of the same file share; None where there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _earlier_drawings(folder: Path) -> set[str]:
    """All names that drawings of an earlier prediction in this folder may have."""
    names: set[str] = set()
    for file in (POSES, UNFINISHED, BROKEN_OFF):
        try:
            for record in (unfinished_records if file == UNFINISHED else read_records)(folder / file):
                if isinstance(record["name"], str):
                    names.add(record["name"])
        except (OSError, ValueError, TypeError, KeyError):  # none, or a file of something else
            continue
    rules = (drawing_name, whole_drawing_name)
    return {rule(name, is_video) for name in names for is_video in (False, True) for rule in rules}
