"""Reads JSON documents and checks their entries: :func:`load_json` and :func:`validated`.

A format declares what each entry of its lists must hold as a subclass of :class:`Entry`, a pydantic model.
The description of a field completes the sentence "<field> must be ..." of the error messages. Fields that are
not declared are not looked at. The types that formats share are declared here.
"""

import json
import reprlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, StrictStr, TypeAdapter, ValidationError

# The greatest absolute value of a coordinate, pixels: beyond any image, and exact in float32 to 1/16.
MAX_COORDINATE = 1_000_000

# Entries are checked so many at a time, so that the copies that pydantic makes of them need little memory.
_CHUNK = 4096

_shorten = reprlib.Repr()
_shorten.maxlist = _shorten.maxdict = 8
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = 80


def _as_integer(value: Any) -> Any:
    """3.0 becomes 3, as pandas writes integers; everything else stays."""
    return int(value) if type(value) is float and value.is_integer() else value


def _as_flag(value: Any) -> Any:
    return int(value) if type(value) is bool else _as_integer(value)


_ID = "an integer of 64 bits or text"

# An identifier: text that is not empty, or an integer; 3.0 counts as 3, true and 3.5 are refused.
Id = Annotated[
    Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)] | Annotated[StrictStr, Field(min_length=1)],
    BeforeValidator(_as_integer),
    Field(description=_ID),
]

# A finite number; true and "3" are none.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=MAX_COORDINATE)]
Box = Annotated[
    tuple[Coordinate, Coordinate, Length, Length],
    Field(description=f"x, y, width >= 0, height >= 0, 4 finite numbers up to {MAX_COORDINATE}"),
]

# Height or width of an image.
Pixels = Annotated[
    int,
    BeforeValidator(_as_integer),
    Field(strict=True, ge=1, le=MAX_COORDINATE, description="a positive integer"),
]
FileName = Annotated[
    StrictStr, Field(min_length=1, pattern=r"^[^\x00]+$", description="a file name, as text")
]

# 0 or 1; false and true count as these.
Flag = Annotated[
    int, BeforeValidator(_as_flag), Field(strict=True, ge=0, le=1, description="0 or 1, or false or true")
]


class Entry(BaseModel):
    """The declared fields of an entry of a document; subclasses give each a type and a description."""


EntryT = TypeVar("EntryT", bound=Entry)


def load_json(file: str | Path, what: str = "annotation file") -> Any:
    """The content of a JSON file.

    Args:
        file: its path.
        what: what the file is, for the message where there is none.

    Raises:
        FileNotFoundError, ValueError: no such file, or no JSON; the message names the file.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{what} {path} {'is no file' if path.exists() else 'does not exist'}")
    try:
        data = path.read_bytes()
        content = json.loads(data)
        # Half of a character, which JSON can write and no other file can hold, nor a screen show.
        if b"\\ud" in data or b"\\uD" in data:
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{path} has the text {error.object[error.start : error.end]!r}, which is half of a character "
            "(a surrogate): write the whole character"
        ) from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not valid JSON (is it truncated?): {error}") from error
    except RecursionError as error:
        raise ValueError(
            f"{path} is nested too deeply to be read; annotations are a few levels deep"
        ) from error


def validated(entries: Any, model: type[EntryT], noun: str, *, key: str | None = None) -> Iterator[EntryT]:
    """The entries of a list as instances of their model, one by one.

    Args:
        entries: the list, as JSON has it.
        model: declares the fields.
        noun: the name of an entry in messages, such as "annotation".
        key: the name of the list in its document, for the message where it is no list.

    Raises:
        ValueError: an entry is wrong; the message names it by its id (by its index from 0 where it has no
            valid one), the field, what is wrong and what would be right.
    """
    if not isinstance(entries, list):
        raise ValueError(f"'{key or noun + 's'}' must be a list, not {short(entries)}")
    return _validated(entries, model, noun)


def _validated(entries: list, model: type[EntryT], noun: str) -> Iterator[EntryT]:
    adapter = _list_of(model)
    for start in range(0, len(entries), _CHUNK):
        chunk = entries[start : start + _CHUNK]
        try:
            checked = adapter.validate_python(chunk)
        except ValidationError as error:
            raise ValueError(_message(error, model, noun, chunk, start)) from None
        yield from checked


def short(value: Any) -> str:
    """A value of a document for a message, shortened where it is long."""
    return _shorten.repr(value)


def entry_name(noun: str, entry: Any, index: int) -> str:
    """The name of an entry in messages: by its id, or by its index from 0 where it has no valid id."""
    identity = entry.get("id") if isinstance(entry, dict) else None
    if type(identity) in (int, str):
        return f"{noun} {short(identity) if isinstance(identity, str) else identity}"
    return f"{noun} at index {index}"


@cache
def _list_of(model: type[EntryT]) -> TypeAdapter[list[EntryT]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]


def _message(error: ValidationError, model: type[Entry], noun: str, chunk: list, start: int) -> str:
    """The first error of a validation in words."""
    (place, *path) = error.errors(include_url=False, include_context=False)[0]["loc"]
    assert isinstance(place, int)
    entry = chunk[place]
    name = entry_name(noun, entry, start + place)
    if not path:
        fields = ", ".join(key for key, field in model.model_fields.items() if field.is_required())
        return f"{name} must be an object with {fields}, not {short(entry)}"
    field = str(path[0])
    right = model.model_fields[field].description
    if field not in entry:
        return f"{name}: {field} is missing; it must be {right}"
    return f"{name}: {field} must be {right}, not {short(entry[field])}"
