"""Writes self-contained HTML pages of the templates in ``templates/``: :func:`write_page`.

A page holds its style, its script, its images (data URIs) and its data, and asks nothing of any network; a
content security policy in its head makes browsers hold it to that. Text is escaped by Jinja, data by
:func:`embedded_json`, because names of files and keypoints may hold anything.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import posecore
from posecore.checkpoint.files import write_whole
from posecore.config.merge import UsageError

# Typographic signs: where there is no number, and before a negative one.
_DASH, _MINUS = "\u2013", "\u2212"

TEMPLATES = Path(__file__).parent / "templates"


def write_page(output: Path, template: str, data: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Writes a page as a whole: where writing fails, the file is as before.

    Args:
        output: the HTML file.
        template: name of a file in ``templates/``.
        data: what the page's script reads, of plain values.
        values: the variables of the template.

    Raises:
        OSError: the file cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "signed": signed, "share": share}
    text = environment.get_template(template).render(
        **values,
        data=embedded_json(data),
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        version=posecore.__version__,
    )
    write_whole(output, lambda file: file.write_text(text, encoding="utf-8"))


def write_json(output: Path, content: Any) -> None:
    """Writes plain values, arrays and numbers as JSON, as a whole; what is not finite becomes null.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    write_whole(output, lambda file: file.write_text(text, encoding="utf-8"))


def json_beside(output: Path, inputs: Iterable[str | Path]) -> Path:
    """The JSON file beside a page, which has the page's name with the ending .json.

    Args:
        output: the page.
        inputs: files that are read for it, and must stay.

    Raises:
        UsageError: it is one of the inputs.
    """
    file = output.with_suffix(".json")
    if any(file.resolve() == Path(path).resolve() for path in inputs):
        raise UsageError(
            f"{output} would have its figures in {file}, which is read: give the page another name"
        )
    return file


def embedded_json(content: Any) -> Markup:
    """JSON that may stand in a script element, whatever texts are in it."""
    text = json.dumps(plain(content), allow_nan=False, separators=(",", ":"))
    for sign, code in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(sign, code)
    return Markup(text)


def plain(content: Any) -> Any:
    """Mappings, sequences, arrays and numbers as JSON has them; None for numbers that are not finite."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return plain(content.tolist())
    if isinstance(content, np.generic):
        return plain(content.item())
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return content


def number(value: float, digits: int = 1) -> str:
    """A number with fixed digits, a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else _DASH


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, a dash where there is none."""
    if not math.isfinite(value):
        return _DASH
    text = f"{value:+.{digits}f}"
    return text.replace("-", _MINUS) if float(text) else text.lstrip("+-")


def share(value: float) -> str:
    """A percentage for a style attribute, from 0 to 100; 0 where there is none."""
    return f"{min(max(value, 0.0), 100.0):.2f}%" if math.isfinite(value) else "0%"
