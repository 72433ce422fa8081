"""The paths directly below a root are named in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pluginexec.root import Layout

PACKAGE = Path(__file__).parents[2] / "pluginexec"
ROOT = Path("/r")
NAMES = {path.name for path in vars(Layout(ROOT)).values()} - {"lock"}
"""Each directory has a lock, and so has the root."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_joins_such_a_name_to_a_root(path: Path) -> None:
    if path in (PACKAGE / "root.py", PACKAGE / "testing" / "cleanup.py", PACKAGE / "doctor" / "smoke_test.py"):
        return  # the directory of a run of tests, and that of the smoke test, are no roots
    joined = [
        node.right.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant)
    ]
    assert not NAMES & set(joined)
