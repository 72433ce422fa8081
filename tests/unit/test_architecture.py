"""The picture of the packages in pluginexec/README.rst, held against the imports of the source."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[2] / "pluginexec"
_ROW = re.compile(r"    ([a-z_| ]+?)  +\S")


class Import(NamedTuple):
    """One import of a module of the package: where it is, and both ends."""

    line: str
    importer: str
    imported: str


def read_picture(text: str) -> dict[str, int]:
    """Return the row of each name in the picture, counted from the top: the literal block behind its heading."""
    block = re.search(r"\nThe packages\n=+\n.*?::\n\n((?:    [^\n]+\n)+)", text, re.DOTALL)
    assert block, "there is no picture of the packages"
    rows = [_ROW.match(line) for line in block[1].splitlines()]
    assert all(rows), block[1]
    return {name: number for number, row in enumerate(rows) if row for name in row[1].split(" | ")}


def modules(package: Path) -> dict[str, Path]:
    """Return the file of each module by its name below the package, such as ``host.logs.reader``."""
    result = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        result[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return result


def imports(package: Path) -> Iterator[Import]:
    """Return all imports between modules, also those inside functions and under TYPE_CHECKING."""
    known = modules(package)
    for importer, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: a relative import"
                # What is imported may be a module itself, as in "from pluginexec.host import events".
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                if name.partition(".")[0] == package.name:
                    line = f"{package.name}/{path.relative_to(package)}:{node.lineno}"
                    yield Import(line, importer, _module(name.partition(".")[2], known))


def _module(name: str, known: dict[str, Path]) -> str:
    """Return the module that a dotted name lies in; names of the package itself are in its ``__init__``."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or "__init__"


def room(module: str) -> str:
    """Return the name that stands for a module in the picture: its package, or a module beside the packages."""
    name = module.partition(".")[0]
    return "cli" if name == "__main__" else name


def violations(package: Path, picture: dict[str, int]) -> list[str]:
    """Return what contradicts the picture, one line each.

    Rows are in one order, so without an upward import there can be no circle of packages.
    """
    rooms = {room(module) for module in modules(package)}
    result = [f"{name} is not in the picture" for name in sorted(rooms - picture.keys())]
    result += [f"{name} is in the picture, but does not exist" for name in sorted(picture.keys() - rooms)]
    for line, importer, imported in imports(package):
        upper, lower = room(importer), room(imported)
        if upper != lower and {upper, lower} <= picture.keys() and picture[upper] >= picture[lower]:
            result.append(f"{line}: {upper} imports {lower} ({imported}), which is not below it")
    return list(dict.fromkeys(result))  # one line may import several names


def test_every_import_goes_down_the_picture() -> None:
    result = violations(PACKAGE, read_picture((PACKAGE / "README.rst").read_text(encoding="utf-8")))
    assert not result, "\n".join(result)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for _, importer, imported in imports(PACKAGE):
        if importer != imported:
            graph.setdefault(importer, set()).add(imported)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle: " + " imports ".join(reversed(error.args[1])))


PICTURE = """
The packages
============

Text::

    top | side   a line
    low          a line
    base         a line
"""
FILES = {
    "__main__.py": "",
    "top/__init__.py": "",
    "top/a.py": "from pluginexec.low import b\nimport pluginexec.base, os",
    "side/__init__.py": "",
    "low/__init__.py": "",
    "low/b.py": "import pluginexec.base",
    "base.py": "",
}


@pytest.mark.parametrize(
    ("file", "source", "violation"),
    [
        ("low/b.py", "from pluginexec.top.a import x", "pluginexec/low/b.py:1: low imports top (top.a)"),
        ("low/b.py", "def f():\n    from pluginexec.top import a", "pluginexec/low/b.py:2: low imports top (top.a)"),
        ("base.py", "if TYPE_CHECKING:\n    import pluginexec.low.b", "pluginexec/base.py:2: base imports low (low.b)"),
        ("top/a.py", "\nfrom pluginexec.side import x", "pluginexec/top/a.py:2: top imports side (side)"),
        ("extra/c.py", "", "extra is not in the picture"),
        ("__init__.py", "", "__init__ is not in the picture"),
    ],
)
def test_an_import_upward_or_sideways_and_a_missing_package_are_named(
    tmp_path: Path, file: str, source: str, violation: str
) -> None:
    picture = read_picture(PICTURE) | {"cli": 0}
    package = tmp_path / "pluginexec"
    for name, text in FILES.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert violations(package, picture) == []
    (package / file).parent.mkdir(exist_ok=True)
    (package / file).write_text(source)
    (result,) = violations(package, picture)
    assert result.startswith(violation)


def test_a_name_that_does_not_exist_may_not_be_in_the_picture() -> None:
    assert "side is in the picture, but does not exist" in violations(PACKAGE, read_picture(PICTURE))
