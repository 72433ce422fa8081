"""A guard is found by its syntax tree, in its function, exactly once.

Real: the parser, and the sources of the package.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.guard import Guard, path_of
from tests.mutation.test_mutation import GUARDS

TREE = Path(__file__).parents[2]
SOURCE = """
SCRIPT = '''
trap '' TERM
wait
'''

class Box:
    def check(self, id):
        # why
        if id is None or id != self.id:
            raise KeyError
        run(
            id, session=True)
        self.record(id)
        self.delete(id)

def check(id):
    self.record(id)
"""


def without(place: str, old: str, new: str) -> str:
    return Guard("a guard", f"pluginexec.x:{place}", old, new, "", "").mutated(SOURCE)


@pytest.mark.parametrize(
    ("place", "old", "new", "line"),
    [
        ("Box.check", "id is None or id != self.id", "False", "if False:"),
        ("Box.check", "id != self.id", "True", "if id is None or True:"),
        ("Box.check", "raise KeyError", "pass", "pass"),
        ("Box.check", "session=True", "session=False", "run(id, session=False)"),
        ("SCRIPT", "wait\n", "", "SCRIPT = \"\\ntrap '' TERM\\n\""),
    ],
)
def test_what_is_taken_out_is_found_whatever_its_layout(place: str, old: str, new: str, line: str) -> None:
    assert line in [text.strip() for text in without(place, old, new).splitlines()]


def test_statements_change_places() -> None:
    old, new = "self.record(id)\nself.delete(id)", "self.delete(id)\nself.record(id)"
    assert "self.delete(id)\n        self.record(id)\n" in without("Box.check", old, new)


@pytest.mark.parametrize("place", ["Box.check", "check"])
def test_only_the_named_function_counts(place: str) -> None:
    assert without(place, "self.record(id)", "pass").count("self.record(id)") == 1


@pytest.mark.parametrize(("place", "old"), [("Box.check", "self.stop(id)"), ("Box.gone", "id"), ("Box.check", "id")])
def test_a_guard_that_is_not_there_once_is_refused(place: str, old: str) -> None:
    with pytest.raises(AssertionError, match="a guard"):
        without(place, old, "pass")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_guard_stands_where_it_is_said_to_stand(guard: Guard) -> None:
    before = (TREE / path_of(guard.place.partition(":")[0])).read_text()
    after = guard.mutated(before)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_test_of_each_guard_is_there(guard: Guard) -> None:
    file, _, name = guard.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (TREE / file).read_text()
