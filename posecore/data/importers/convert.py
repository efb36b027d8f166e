"""Makes a dataset of another tool's files: :func:`import_dataset` (tools/import_dataset.py)."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from posecore.config.errors import UsageError, some
from posecore.data.importers import IMPORTERS, recognize
from posecore.data.importers.archives import unpack
from posecore.data.importers.dataset import ImportedDataset, ImportedImage
from posecore.data.importers.files import read_text
from posecore.data.importers.image_sources import VideoFrame
from posecore.data.importers.notes import NUM_EXAMPLES, WARNING
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.skeletons import complete_skeleton
from posecore.data.importers.splits import split_images
from posecore.data.importers.writer import SKELETON_FILE, WrittenSplit, check_free, write_dataset
from posecore.structures.skeleton import Skeleton

_OTHER_ARCHIVES = frozenset({".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})


@dataclass(frozen=True)
class ImportSummary:
    """What an import has read and written.

    Attributes:
        source: the path of the source.
        folder: of the dataset.
        dataset: the content of the source.
        skeleton: as it was written.
        splits: as they were written.
        copied: whether the images were copied.
    """

    source: Path
    folder: Path
    dataset: ImportedDataset
    skeleton: Skeleton
    splits: tuple[WrittenSplit, ...]
    copied: bool

    def lines(self) -> list[str]:
        """The summary, a line for each fact."""
        images, notes = self.dataset.images, self.dataset.notes
        persons = [person for image in images for person in image.persons]
        empty = sum(not image.persons for image in images)
        lines = [
            f"read: {self.source} ({IMPORTERS[self.dataset.format].title})",
            f"  {len(images)} images, {empty} of them without persons; {len(persons)} persons of the "
            f"category {self.dataset.skeleton.category!r} with {self.skeleton.num_keypoints} keypoints",
        ]
        for reason, examples in notes.left_out.items():
            lines.append(f"left out: {len(examples)} {reason}: {some(examples, NUM_EXAMPLES)}")
        if notes.missing:
            lines.append(
                f"{WARNING}: the files of {len(notes.missing)} of {len(images)} images were not found: "
                f"{some(notes.missing, NUM_EXAMPLES)}; --images FOLDER names a folder to look in, "
                "--skip-missing leaves them out"
            )
        lines += [
            remark if remark.startswith(WARNING) else f"note: {remark}"
            for remark in sorted(notes.remarks, key=lambda remark: remark.startswith(WARNING))
        ]
        lines.append(f"keypoints: {', '.join(self.skeleton.keypoints)}")
        pairs = ", ".join(f"{left} <-> {right}" for left, right in self.skeleton.flip_pairs)
        lines.append(
            f"flip pairs, left <-> right: {pairs or 'none'}; to change in {self.folder / SKELETON_FILE}"
        )
        limbs = ", ".join(f"{a} - {b}" for a, b in self.skeleton.limbs)
        lines.append(f"limbs: {limbs or 'none'}")
        lines.append(f"written: {self.folder / SKELETON_FILE}")
        for split in self.splits:
            lines.append(
                f"written: {split.definition} (dataset {split.dataset}: {split.images} images, "
                f"{split.persons} persons)"
            )
        kind = "copies" if self.copied else "links"
        lines.append(f"written: {self.folder / 'images'} ({kind} of the image files)")
        return lines


def import_dataset(
    source: Path,
    folder: Path,
    options: ImportOptions,
    *,
    format: str | None = None,
    shares: Sequence[float] | None = None,
    split_by: str = "auto",
    seed: int = 0,
    copy: bool = False,
    overwrite: bool = False,
    skip_missing: bool = False,
) -> ImportSummary:
    """Reads another tool's files and writes a dataset.

    Args:
        source: a file, a folder or a zip archive of one.
        folder: gets the dataset; new, empty or, with ``overwrite``, that of an earlier import.
        options: what the user says about the source.
        format: a key of :data:`IMPORTERS`; None to recognize it.
        shares, split_by, seed: those of :func:`posecore.data.importers.splits.split_images`.
        copy: whether images are copied instead of linked; those of an archive always are.
        overwrite: whether an earlier import is replaced.
        skip_missing: whether images are left out whose files are not found, but whose sizes the labels state.

    Raises:
        UsageError, OSError, ValueError: the source, an option or the folder is wrong; nothing is written
            then.
    """
    if not source.exists():
        raise FileNotFoundError(f"SOURCE {source} does not exist")
    if not source.is_dir() and not source.is_file():
        raise UsageError(f"SOURCE {source} is a device or a pipe: give a file or a folder")
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"--output {folder} lies in SOURCE {source}: give a folder outside of it")
    if options.images is not None and not options.images.is_dir():
        raise FileNotFoundError(f"--images {options.images} is no folder")
    check_free(folder, overwrite)
    check_outside([source, options.images], folder)
    with ExitStack() as stack:
        content = source
        temporary: str | None = None
        if source.suffix.lower() == ".zip":
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="posecore-import-"))
            stack.enter_context(named_as(temporary, source))
            content, copy = unpack(source, Path(temporary)), True
        elif source.suffix.lower() in _OTHER_ARCHIVES:
            raise UsageError(
                f"SOURCE {source} is an archive that is not read: unpack it, or make a .zip of it"
            )
        if format is None:
            content, format = find_content(content)
        dataset = IMPORTERS[format].read(content, options)
        if temporary is not None:
            dataset.notes.rename(temporary, str(source))
        if options.keypoints is not None and dataset.skeleton.keypoints != options.keypoints:
            dataset.notes.remark("--keypoints is not used, because the source names its keypoints itself")
        if options.category is not None and dataset.skeleton.category != options.category:
            dataset.notes.remark("--category is not used, because the source has no categories")
        if skip_missing:
            dataset = without_missing(dataset)
        check_content(dataset, source)
        skeleton = complete_skeleton(dataset, _skeleton_name(dataset))
        check_outside(_image_files(dataset), folder)
        splits = split_images(dataset, shares, split_by, seed)
        written = write_dataset(dataset, splits, skeleton, folder, copy=copy, overwrite=overwrite)
    return ImportSummary(source, folder, dataset, skeleton, tuple(written), copy)


def check_outside(files: Iterable[Path | None], folder: Path) -> None:
    """Checks that nothing that is read lies in the folder that is replaced.

    Raises:
        UsageError: a file does; the message names it.
    """
    replaced = folder.resolve()
    for file in files:
        if file is not None and file.resolve().is_relative_to(replaced):
            raise UsageError(
                f"--output {folder} has {file}, which is read, and would be replaced: give another folder"
            )


def _image_files(dataset: ImportedDataset) -> Iterator[Path]:
    for image in dataset.images:
        if isinstance(image.source, VideoFrame):
            yield image.source.video
        elif isinstance(image.source, Path):
            yield image.source


@contextlib.contextmanager
def named_as(folder: str, archive: Path) -> Iterator[None]:
    """Lets errors within name an archive in place of the temporary folder of its files."""
    try:
        yield
    except (UsageError, FileNotFoundError, ValueError) as error:
        if type(error) in (UsageError, FileNotFoundError, ValueError) and folder in str(error):
            raise type(error)(str(error).replace(folder, str(archive))) from error
        raise


def find_content(source: Path) -> tuple[Path, str]:
    """The folder or file of a format that is known, and the format, a key of :data:`IMPORTERS`.

    A folder that has nothing but one folder stands for that one, as archives often have it.

    Raises:
        UsageError, FileNotFoundError: as :func:`posecore.data.importers.recognize`.
    """
    try:
        return source, recognize(source)
    except UsageError:
        inner = (
            [path for path in source.iterdir() if not path.name.startswith(".")] if source.is_dir() else []
        )
        if len(inner) != 1 or not inner[0].is_dir():
            raise
    return find_content(inner[0])


def without_missing(dataset: ImportedDataset) -> ImportedDataset:
    """The import without the images whose files were not found, which its notes then list as left out."""
    notes = dataset.notes
    for name in notes.missing:
        notes.leave_out("images whose file was not found", name)
    notes.missing.clear()
    return replace(dataset, images=tuple(image for image in dataset.images if image.source is not None))


def check_content(dataset: ImportedDataset, source: Path) -> None:
    """Checks that there is something to write, and that no two images have one name.

    Raises:
        ValueError: there is not; the message says what was left out.
    """
    if not dataset.images:
        reasons = "; ".join(
            f"{len(examples)} {reason}: {some(examples, NUM_EXAMPLES)}"
            for reason, examples in dataset.notes.left_out.items()
        )
        raise ValueError(f"{source} has no image that can be used{f' ({reasons})' if reasons else ''}")
    seen: dict[str, ImportedImage] = {}
    for image in dataset.images:
        other = seen.setdefault(image.name.lower(), image)
        if other is not image:
            raise ValueError(
                f"{source} has two images of the name {image.name}, {other.source} and {image.source}"
            )


def read_keypoint_names(file: Path) -> tuple[str, ...]:
    """The names in a file for --keypoints, one per line.

    Raises:
        FileNotFoundError, ValueError: there is no such file, it is empty, or a name is repeated.
    """
    names = tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    if not names:
        raise ValueError(
            f"--keypoints {file} is empty: it must have the names of the keypoints, one per line"
        )
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--keypoints {file} repeats {repeated}: names must differ")
    return names


def _skeleton_name(dataset: ImportedDataset) -> str:
    return dataset.skeleton.category or "imported"
