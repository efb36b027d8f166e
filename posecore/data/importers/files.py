"""Reads the text, YAML, JSON and XML files of other tools: :func:`read_text`, :func:`read_yaml` and others.

Anybody may have made them, so nothing in a file is executed: YAML has plain values only, and XML no entities.
"""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from posecore.config.extras import require_package
from posecore.config.yaml_text import load_yaml
from posecore.data.formats.document import load_json, short


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is no text; the message names it.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} {'is no file' if file.exists() else 'does not exist'}")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error}") from error


def read_rows(file: Path, text: str) -> Iterator[list[str]]:
    """The rows of a CSV file, of which the text is given.

    Raises:
        ValueError: it is no CSV; the message names the file.
    """
    try:
        yield from csv.reader(io.StringIO(text))
    except csv.Error as error:
        raise ValueError(f"{file} is not valid CSV (is a quotation mark missing?): {error}") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping of a YAML file.

    Raises:
        FileNotFoundError, ValueError: the message names the file.
    """
    try:
        content = load_yaml(read_text(file))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must be YAML of keys and values, not {short(content)}")
    return content


def read_json(file: Path) -> Any:
    """The value of a JSON file.

    Raises:
        FileNotFoundError, ValueError: the message names the file.
    """
    return load_json(file, "file")


def check_readable(source: Path) -> None:
    """Checks that a file, or the files right in a folder, are the JSON, YAML and XML that they should be.

    A broken file is of no format, and its error says more than that.

    Raises:
        ValueError: one is not; the message names it.
    """
    readers = {".json": read_json, ".yaml": read_yaml, ".yml": read_yaml, ".xml": read_xml}
    for file in sorted(source.iterdir()) if source.is_dir() else [source]:
        if file.is_file() and (reader := readers.get(file.suffix.lower())):
            reader(file)


def read_xml(file: Path) -> Element:
    """The root of an XML file; one that declares entities is refused.

    Raises:
        FileNotFoundError, ValueError: the message names the file.
    """
    return parse_xml(read_text(file), str(file))


def parse_xml(text: str, where: str) -> Element:
    """The root of an XML document; ``where`` names it in messages.

    Raises:
        ValueError: it is no XML, or declares entities.
    """
    require_package("defusedxml", "import", "the import of XML files")
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        # Text of which the encoding is declared must be given as bytes.
        return fromstring(text.encode())
    except DefusedXmlException as error:
        raise ValueError(f"{where} declares entities, which are not read: {error}") from error
    # The last two: of an encoding that is unknown, or not read.
    except (ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{where} is not valid XML (is it truncated?): {error}") from error


def files_below(folder: Path) -> Iterator[Path]:
    """All regular files below a folder, sorted; folders that begin with a dot are left out.

    A pipe among them would block whatever opens it.
    """
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (file for name in sorted(files) if (file := Path(root, name)).is_file())
