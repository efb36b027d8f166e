"""A short text that tells training samples from others: :func:`records_digest`."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def records_digest(records: Sequence[dict[str, Any]]) -> str:
    """The number of records and a checksum of their file names, sizes and keypoints, in their order.

    The folders of the images do not count, so a dataset may move.

    Args:
        records: of a training, images or persons.
    """
    checksum = 0
    for record in records:
        people = record.get("annotations") or [record.get("annotation") or {}]
        name = Path(str(record.get("file_name", ""))).name
        # The hash of a tuple of numbers is the same in every process, unlike that of text.
        keypoints = [hash(tuple(person.get("keypoints", ()))) for person in people]
        text = repr((name, record.get("height"), record.get("width"), keypoints))
        checksum = zlib.crc32(text.encode(errors="replace"), checksum)
    return f"{len(records)} samples, checksum {checksum:08x}"
