"""The rows and their table. Real: everything; the numbers are invented."""

from __future__ import annotations

import json

import pytest

from tests.bench.rows import Row, against_peer, at_least, at_most
from tests.bench.spread import Spread
from tests.bench.table import number, shown, table


@pytest.mark.parametrize(
    ("value", "reached"), [(1.19, True), (1.2, True), (1.21, False)], ids=["below", "on it", "above"]
)
def test_a_goal_is_reached_up_to_its_bound(value: float, reached: bool) -> None:
    assert at_most("ratio", value, 1.2).reached is reached
    assert at_least("ratio", -value, -1.2).reached is reached


def test_the_goal_of_a_row_is_for_the_median_of_its_ratios() -> None:
    row = against_peer("create", "gRPC", "ms", [10, 30, 60], [10, 20, 30], most=1.4)
    assert row.ratio == Spread(1.5, 1.25, 1.75, 3)
    assert [(goal.value, goal.reached) for goal in row.goals] == [(1.5, False)]
    assert not against_peer("relay", "ctr", "MB/s", [10], [10], least=2.5).goals[0].reached


def test_a_row_without_a_goal_has_none() -> None:
    assert against_peer("growth", "gRPC", "ms", [1], [2]).goals == ()


def test_what_is_too_long_for_its_column_goes_on_below_it() -> None:
    text = table([against_peer("create until it runs, with both of its streams relayed", "gRPC", "ms", [3], [2])])
    border, head, _, *lines, last = text.splitlines()
    assert border == last
    assert head.split() == ["what", "pluginexec", "against", "ratio", "to", "reach", "reached"]
    assert len(lines) == 2
    assert {len(line) <= len(border) for line in lines} == {True}
    assert " ".join(line[:27].strip() for line in lines) == "create until it runs, with both of its streams relayed"


def test_the_table_says_what_was_to_be_reached_and_what_was() -> None:
    goals = (at_least("ratio", 30, 25), at_most("ours", 21.5, 20, "us"))
    text = table([Row("is_running", "gRPC", "us", Spread(21.5, 20, 22, 9), goals=goals)])
    assert ">= 25 x" in text
    assert "yes: 30 x" in text
    assert "ours <= 20 us" in text
    assert "NO: 21.5 us" in text


def test_what_its_parts_cost_alone_stands_beside_the_peer() -> None:
    row = Row("exit", "gRPC", "ms", Spread(2, 2, 2, 1), others={"ctr alone": (Spread(1.5, 1, 2, 3), "ms")})
    assert "ctr alone: 1.5 ms (1 to 2)" in table([row])


def test_a_row_is_the_same_in_json() -> None:
    row = against_peer("create", "gRPC", "ms", [1.5], [1.0], most=1.2)
    read = json.loads(json.dumps(row.as_json()))
    assert read["ratio"] == {"median": 1.5, "low": 1.5, "high": 1.5, "count": 1}
    assert read["goals"] == [
        {"what": "ratio", "value": 1.5, "bound": 1.2, "unit": "x", "at_least": False, "reached": False}
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(1.2345, "1.23"), (0.04321, "0.0432"), (99.94, "99.9"), (12345.6, "12,346"), (0, "0")]
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_a_single_value_has_no_quartiles() -> None:
    assert shown(Spread(2, 2, 2, 1), "ms") == "2 ms"
    assert shown(Spread(2, 1, 3, 5), "ms") == "2 ms (1 to 3)"
