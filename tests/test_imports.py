"""Who may import whom: the arrows of the map in posecore's docstring, read from the sources."""

import ast
import re
from pathlib import Path

import pytest

import posecore

ROOT = Path(__file__).resolve().parents[1]
# Known by name, because no method may appear in the core, those of tomorrow included.
METHODS = ("directpose", "fcpose", "grouppose", "inspose", "poet", "poseur")
PACKAGES = ("posecore", *METHODS)


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sources(*PACKAGES)}


def imports(path: Path) -> set[str]:
    """Full names of what a file imports anywhere in it: a module, or a name in a module."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def own_imports(name: str) -> set[str]:
    """The modules of ours that a module of ours imports."""
    found = set()
    for target in imports(MODULES[name]):
        while target and target not in MODULES:
            target = target.rpartition(".")[0]
        found |= {target} - {"", name}
    return found


def top(name: str) -> str:
    return name.partition(".")[0]


def levels() -> dict[str, int]:
    """Each part of the core and its line in the map, counted from the ground."""
    lines = re.findall(r"^    (\w[\w ]*?)  ", posecore.__doc__, re.MULTILINE)
    return {part: level for level, line in enumerate(lines) for part in line.split()}


def core_part(name: str) -> str:
    """The part of the core that a module belongs to: posecore.modeling.fcos.head -> fcos."""
    return name.split(".")[1]


def test_the_reader_of_imports_sees_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    package = tmp_path / "posecore" / "fcos"
    package.mkdir(parents=True)
    (package / "head.py").write_text(
        "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\ndef late():\n    from ..h import i\n"
    )
    assert imports(package / "head.py") == {
        "a.b",
        "c.d",
        "posecore.fcos.e",
        "posecore.fcos.f.g",
        "posecore.h.i",
    }


def test_core_imports_only_compat_when_it_is_imported():
    assert own_imports("posecore") == {"posecore.compat"}
    assert imports(MODULES["posecore.compat"]).isdisjoint(MODULES)


def test_every_part_of_the_core_is_on_the_map():
    parts = {core_part(name) for name in MODULES if name.startswith("posecore.")} - {"compat"}
    assert parts <= set(levels()), "give these a line in the docstring of posecore/__init__.py"


def test_every_module_is_in_the_map_of_its_package():
    """A package whose docstring has a line for some of its modules has one for each."""
    for name, file in MODULES.items():
        if file.name != "__init__.py" or name == "posecore":
            continue
        text = ast.get_docstring(ast.parse(file.read_text())) or ""
        named = set(re.findall(r"^(\w+)  ", text, re.MULTILINE))
        parts = {other.rpartition(".")[2] for other in MODULES if other.rpartition(".")[0] == name}
        parts = {part for part in parts if not part.startswith("_")}
        assert len(parts & named) < 2 or parts <= named, f"{name} has no line for {sorted(parts - named)}"


def test_every_part_is_in_the_drawing_on_its_floor():
    drawing = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    height = {
        name.rstrip("/"): int(y)
        for y, name in re.findall(r' y="(\d+)"[^>]*bold[^>]*>([\w/]+)</text>', drawing)
    }
    assert set(levels()) | set(METHODS) | {"tools", "csrc"} == set(height)
    drawn = sorted(levels(), key=lambda part: -height[part])
    assert [levels()[part] for part in drawn] == sorted(levels().values())


def test_core_imports_downwards():
    level = levels()
    upwards = [
        f"{name} imports {target}"
        for name in MODULES
        if name.startswith("posecore.") and core_part(name) != "compat"
        for target in own_imports(name)
        if target.startswith("posecore.") and core_part(target) != "compat"
        if level[core_part(target)] > level[core_part(name)]
    ]
    assert not upwards


def test_core_imports_no_method():
    assert not [
        f"{name} imports {target}"
        for name in MODULES
        if top(name) == "posecore"
        for target in own_imports(name)
        if top(target) != "posecore"
    ]


def test_methods_do_not_import_each_other():
    assert not [
        f"{name} imports {target}"
        for name in MODULES
        if top(name) in METHODS
        for target in own_imports(name)
        if top(target) not in ("posecore", top(name))
    ]


def test_posecore_comes_before_detectron2():
    """Wherever Python may start, compat has run by the time Detectron2 is imported."""
    starts = {ROOT / method / "__init__.py": {"posecore"} for method in METHODS if (ROOT / method).is_dir()}
    starts |= {path: set(PACKAGES) for path in (ROOT / "tools").glob("*.py")}
    for path, may_be_first in starts.items():
        order = [
            top(alias.name if isinstance(node, ast.Import) else node.module)
            for node in ast.parse(path.read_text(), str(path)).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        first = next((name for name in order if name in (*PACKAGES, "detectron2")), None)
        assert first is None or first in may_be_first, f"{path} imports {first} before posecore"


def test_no_cycles():
    """Modules can be put in an order in which each imports only earlier ones."""
    waiting = {name: own_imports(name) for name in MODULES}
    # A package's own file gathers names of its modules, which in turn make Python import it first.
    waiting = {
        name: {t for t in targets if not name.startswith(f"{t}.")} for name, targets in waiting.items()
    }
    while ready := {name for name, targets in waiting.items() if not targets & waiting.keys()}:
        waiting = {name: targets for name, targets in waiting.items() if name not in ready}
    assert not waiting


@pytest.mark.parametrize(
    ("forbidden", "reason"),
    [
        ("tools", "tools are started by path; Detectron2 leaves a package of the same name"),
        ("tests", "tests are not a package"),
        ("detectron2.model_zoo", "it needs pkg_resources, which setuptools has dropped"),
    ],
)
def test_nobody_imports(forbidden, reason):
    importers = [
        str(path.relative_to(ROOT))
        for path in sources(*PACKAGES, "tools", "tests", "datasets")
        for target in imports(path)
        if target == forbidden or target.startswith(f"{forbidden}.")
    ]
    assert not importers, reason
