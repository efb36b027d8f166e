"""Unpacks zip archives, and only into the folder that is meant: :func:`unpack`."""

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

# An archive that claims more than this many times its own size is refused; images are hardly compressed.
MAX_RATIO = 200
MAX_MEMBERS = 1_000_000


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks a zip archive into an empty folder, and returns the folder of its content.

    Raises:
        ValueError: it is no zip archive, is damaged, would write outside the folder, or claims to be far
            larger than images can be compressed.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = content.infolist()
            if len({member.filename for member in members}) < len(members):
                raise ValueError(f"{archive} has several files of one name, of which one would be left")
            total = sum(member.file_size for member in members)
            if len(members) > MAX_MEMBERS or total > MAX_RATIO * archive.stat().st_size + 2**20:
                raise ValueError(
                    f"{archive} would become {len(members):,} files of {total:,} bytes, far more than images "
                    "can be compressed: unpack it yourself if that is right"
                )
            if total > shutil.disk_usage(folder).free:
                raise ValueError(f"{archive} needs {total:,} bytes, more than the disk of {folder} has")
            for member in members:
                parts = PurePosixPath(member.filename.replace("\\", "/")).parts
                kind = stat.S_IFMT(member.external_attr >> 16)
                if ".." in parts or (parts and (parts[0] == "/" or parts[0].endswith(":"))):
                    raise ValueError(f"{archive}: its entry {member.filename!r} would be written elsewhere")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(f"{archive}: its entry {member.filename!r} is no file and no folder")
                content.extract(member, folder)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise ValueError(f"{archive} is no zip archive that can be read: {error}") from error
    inner = [path for path in folder.iterdir() if path.name != "__MACOSX"]
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder
