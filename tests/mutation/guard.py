"""A guard: where it stands, what stands there without it, and which test then fails, and how.

A guard is found by the function that it stands in and by its syntax tree, so neither a new line break nor a comment
nor a move within the function loses it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Node = ast.AST
_Body = list[ast.stmt]


@dataclass(frozen=True)
class Guard:
    """One guard: with ``old`` replaced by ``new`` the test fails, and its failure matches ``says``.

    - ``place``: the module and, behind a colon, the function, as in ``pluginexec.root.root:Root``; or the constant;
    - ``old``: an expression, an argument (``name=value``) or statements, once in that function; of a constant that is
      a string, a part of its text;
    - ``leaves``: why the test cannot clean up without the guard, where it cannot.
    """

    name: str
    place: str
    old: str
    new: str
    test: str
    says: str
    leaves: str = ""

    def take_out(self, tree: Path) -> None:
        """Take it out of a copy of the tree; ``AssertionError`` unless it is there exactly once."""
        path = tree / path_of(self.place.partition(":")[0])
        path.write_text(self.mutated(path.read_text(encoding="utf-8")), encoding="utf-8")

    def mutated(self, source: str) -> str:
        """Return the module without the guard; ``AssertionError`` unless it is there exactly once."""
        module = ast.parse(source)
        scope = _find_scope(module, self.place.partition(":")[2])
        assert scope is not None, f"there is no {self.place}: name the place where the guard {self.name!r} stands"
        count = _replace(scope, self.old, self.new)
        assert count == 1, f"{self.place} has {self.old!r} {count} times: show the guard {self.name!r} where it is"
        return ast.unparse(ast.fix_missing_locations(module))


def path_of(module: str) -> Path:
    """Return the path of a module, from the top of the tree."""
    return Path(*module.split(".")).with_suffix(".py")


def _find_scope(module: ast.Module, qualified_name: str) -> Node | None:
    scope: Node | None = module
    for name in qualified_name.split("."):
        scope = next((node for node in ast.walk(scope) if _name_of(node) == name), None) if scope else None
    return scope


def _name_of(node: Node) -> str | None:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _replace(scope: Node, old: str, new: str) -> int:
    if isinstance(scope, ast.Assign) and isinstance(scope.value, ast.Constant):
        return _replace_text(scope.value, old, new)
    before, after = ast.parse(old).body, ast.parse(new).body
    if isinstance(before[0], ast.Expr) and isinstance(after[0], ast.Expr) and len(before) == len(after) == 1:
        return _replace_expression(scope, before[0].value, after[0].value)
    return _replace_statements(scope, before, after) or _replace_argument(scope, before[0], after[0])


def _replace_text(constant: ast.Constant, old: str, new: str) -> int:
    text = constant.value
    assert isinstance(text, str)
    constant.value = text.replace(old, new)
    return text.count(old)


def _replace_expression(scope: Node, old: ast.expr, new: ast.expr) -> int:
    wanted, count = ast.dump(old), 0
    for node in list(ast.walk(scope)):
        for field, value in ast.iter_fields(node):
            items = value if isinstance(value, list) else [value]
            replaced = [new if isinstance(item, ast.expr) and ast.dump(item) == wanted else item for item in items]
            count += sum(left is not right for left, right in zip(items, replaced, strict=True))
            setattr(node, field, replaced if isinstance(value, list) else replaced[0])
    return count


def _replace_statements(scope: Node, old: _Body, new: _Body) -> int:
    wanted, count = [ast.dump(statement) for statement in old], 0
    for body in _bodies(scope):
        for start in reversed(range(len(body) - len(wanted) + 1)):
            if [ast.dump(statement) for statement in body[start : start + len(wanted)]] == wanted:
                body[start : start + len(wanted)] = new
                count += 1
    return count


def _bodies(scope: Node) -> Iterator[_Body]:
    for node in ast.walk(scope):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def _replace_argument(scope: Node, old: ast.stmt, new: ast.stmt) -> int:
    if not (isinstance(old, ast.Assign) and isinstance(new, ast.Assign) and isinstance(old.targets[0], ast.Name)):
        return 0
    count = 0
    for keyword in (node for node in ast.walk(scope) if isinstance(node, ast.keyword)):
        if keyword.arg == old.targets[0].id and ast.dump(keyword.value) == ast.dump(old.value):
            keyword.value = new.value
            count += 1
    return count
