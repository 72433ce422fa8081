"""Medians, spreads and turns. Real: everything; nothing is measured."""

from __future__ import annotations

import pytest

from tests.bench.spread import Spread, alternate, ratios, spread


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    assert spread([5, 1, 4, 2, 3]) == Spread(3, 2, 4, 5)
    assert spread([1, 2]) == Spread(1.5, 1.25, 1.75, 2)


def test_one_value_is_its_own_spread() -> None:
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def test_one_value_that_was_spoilt_moves_neither_median_nor_quartiles() -> None:
    assert spread([1, 2, 3, 4, 1e9]) == spread([1, 2, 3, 4, 5])


def test_a_ratio_is_taken_of_neighbours_in_time() -> None:
    # The machine became ten times slower after the first round: of the medians, the ratio would be another.
    assert ratios([1, 20, 20], [2, 20, 40]) == [0.5, 1, 0.5]


def test_neighbours_must_be_as_many_on_both_sides() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


def test_the_sides_take_turns_and_their_first_does_not_count() -> None:
    turns: list[str] = []

    def side(name: str) -> int:
        turns.append(name)
        return len(turns)

    assert alternate(2, lambda: side("a"), lambda: side("b")) == [[3, 5], [4, 6]]
    assert turns == ["a", "b"] * 3


def test_without_a_warm_up_the_first_turn_counts() -> None:
    values = iter(range(4))
    assert alternate(2, lambda: next(values), lambda: next(values), warm_up=False) == [[0, 2], [1, 3]]
