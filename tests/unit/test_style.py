"""A module has one job, and a function does one thing: neither is long."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "pluginexec"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 350
MOST_LINES_OF_A_FUNCTION = 40


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_and_no_function_is_long(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    assert [each.name for each in functions if _length(each) > MOST_LINES_OF_A_FUNCTION] == []


def _length(function: ast.FunctionDef) -> int:
    assert function.end_lineno
    return function.end_lineno - function.lineno + 1
