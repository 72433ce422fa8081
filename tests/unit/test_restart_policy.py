"""Restart policies: what they are called, when they start a plugin again, and after which pause. Only functions."""

from __future__ import annotations

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.restart_policy import RestartPolicy, parse_policy, pause_before


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", RestartPolicy("no")),
        ("always", RestartPolicy("always")),
        ("unless-stopped", RestartPolicy("unless-stopped")),
        ("on-failure", RestartPolicy("on-failure")),
        ("on-failure:0", RestartPolicy("on-failure")),
        ("on-failure:3", RestartPolicy("on-failure", 3)),
    ],
)
def test_the_policies_have_dockers_names(text: str, policy: RestartPolicy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text", ["", "yes", "Always", "always:3", "no:1", "on-failure:", "on-failure:-1", "on-failure:x", "on-failure:1\n"]
)
def test_what_is_no_policy_is_refused_in_one_line_that_lists_them(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"use no, on-failure\[:max-retries\], always or unless-stopped"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("text", "restarted_after"),
    [("no", []), ("always", [0, 1, None]), ("unless-stopped", [0, 1, None]), ("on-failure", [1, None])],
)
def test_a_policy_decides_by_the_exit_code_and_one_that_nobody_knows_may_be_a_failure(
    text: str, restarted_after: list[int | None]
) -> None:
    policy = parse_policy(text)
    assert [code for code in (0, 1, None) if policy.wants_restart(code, 1000)] == restarted_after


def test_a_limit_is_the_number_of_restarts_after_which_there_is_no_more() -> None:
    policy = parse_policy("on-failure:2")
    assert [policy.wants_restart(1, restarts) for restarts in range(4)] == [True, True, False, False]
    assert [policy.gives_up(restarts) for restarts in range(4)] == [False, False, True, True]
    assert not parse_policy("on-failure").gives_up(10**9)


def test_pauses_begin_at_a_tenth_of_a_second_and_double_up_to_a_minute() -> None:
    assert [pause_before(restarts) for restarts in range(5)] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert pause_before(9) == 51.2
    assert [pause_before(restarts) for restarts in (10, 11, 10**9)] == [60, 60, 60]
