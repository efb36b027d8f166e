"""Images of a folder as the frames of a video, in the order of their names: :func:`image_sequences`."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from posecore.config.merge import UsageError
from posecore.inference.video import Source


def image_sequences(sources: Iterable[Source], rate: float) -> list[Source]:
    """The sources, with times for the images: those of one folder that follow each other are a sequence.

    A sequence is in the order of its names, in which numbers count by value: ``2.jpg`` comes before
    ``10.jpg``.

    Args:
        sources: images, videos, cameras and streams; all but images stay as they are.
        rate: images per second of a sequence.

    Raises:
        UsageError: a sequence would have one image.
    """
    result: list[Source] = []
    for folder, group in itertools.groupby(sources, key=_folder):
        members = list(group)
        if folder is None:
            result += members
            continue
        if len(members) == 1:
            raise UsageError(
                "--track and --smooth need videos, cameras, streams or folders of images, and "
                f"{members[0]} is an image without others of its folder"
            )
        members.sort(key=lambda source: natural_order(source.name))
        result += [
            replace(source, sequence=str(folder), time=index / rate) for index, source in enumerate(members)
        ]
    return result


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names by their text and the value of the numbers in them."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def _folder(source: Source) -> Path | None:
    return Path(source.address).parent if source.kind == "image" else None
