"""Hooks of MkDocs for the documentation's site: pages beside docs/, and the reference of the API.

The pages of the repository are read on GitHub too, so their links are relative to where they lie. Here the
pages outside docs/ get a place in the site, and links to them lead there. Each public module gets a page,
which mkdocstrings fills from the docstrings. mkdocs.yml names this file.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
# Pages outside docs/ -> their pages in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "datasets/README.md": "datasets.md",
    "LICENSE": "license.md",
}
PACKAGES = ("posecore", "directpose", "fcpose", "grouppose", "inspose", "poet", "poseur")

_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?(?:\s[^)]*)?\))")
_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`~?([^`]+)`")


class _Roles(Preprocessor):
    """Names in docstrings are marked as reStructuredText does; pages show them as code."""

    def run(self, lines: list[str]) -> list[str]:
        """Replaces the roles of all lines."""
        return [_ROLE.sub(lambda match: f"`{match[1].strip()}`", line) for line in lines]


class RolesExtension(Extension):
    """Shows :func:`name` and the like as code."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  (the name of Markdown)
        """Adds the preprocessor before all others."""
        md.preprocessors.register(_Roles(md), "roles", 100)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the reference to the navigation, and the roles to the dialect of pages."""
    config.markdown_extensions.append(RolesExtension())  # type: ignore[arg-type]
    if config.nav is not None:
        config.nav = [*config.nav, {"API": [{package: _tree(package)} for package in PACKAGES]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages outside docs/ and one page for each public module."""
    for source, place in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if place == "license.md":
            text = f"# License\n\n```text\n{text}\n```\n"
        files.append(File.generated(config, place, content=_moved(text, source, place)))
    for module in _modules():
        name = module.rpartition(".")[2]
        content = f"# {name}\n\n`{module}`\n\n::: {module}\n"
        page = File.generated(config, _page(module), content=content)
        page.inclusion = InclusionLevel.INCLUDED
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lets the links of pages in docs/ lead to the pages of the site."""
    place = page.file.src_uri
    if place in OUTSIDE.values() or place.startswith("api/"):
        return markdown
    return _moved(markdown, f"docs/{place}", place)


def _moved(text: str, source: str, place: str) -> str:
    """A page's text with its relative links as they are at its place in the site.

    Args:
        text: Markdown.
        source: where the page lies in the repository.
        place: where it lies in the site.
    """

    def replace(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if target in OUTSIDE:
            there = OUTSIDE[target]
        elif target.startswith("docs/"):
            there = target.removeprefix("docs/")
        else:
            return match[0]
        return match[1] + posixpath.relpath(there, posixpath.dirname(place) or ".") + match[3]

    return _LINK.sub(replace, text)


def _modules() -> list[str]:
    """The public modules of all packages."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if path.name == "__init__.py":
                parts = parts[:-1]
            if not any(part.startswith("_") for part in parts):
                found.append(".".join(parts))
    return found


def _page(module: str) -> str:
    path = ROOT / module.replace(".", "/")
    return (
        f"api/{module.replace('.', '/')}/index.md" if path.is_dir() else f"api/{module.replace('.', '/')}.md"
    )


def _tree(package: str) -> list[Any]:
    """The navigation below a package: its own page, its modules, its packages."""
    entries: list[Any] = []
    folders: list[Any] = []
    for module in _modules():
        if module == package:
            entries.insert(0, {"overview": _page(module)})
        elif module.rpartition(".")[0] == package:
            name = module.rpartition(".")[2]
            if (ROOT / module.replace(".", "/")).is_dir():
                folders.append({name: _tree(module)})
            else:
                entries.append({name: _page(module)})
    return [*entries, *folders]
