"""The guards of the pytest plugin."""

from __future__ import annotations

from tests.mutation.guard import Guard

PYTEST_PLUGIN = (
    Guard(
        "a test that leaves something behind fails",
        "testing/plugin.py",
        "pytest.fail(text, pytrace=False)",
        "pass",
        "tests/integration/testing/test_leaks.py::test_each_kind_of_leak_fails_the_test_that_left_it_and_is_ended",
        r"rors': 0, ",
    ),
    Guard(
        "a test that fails shows its plugins",
        "testing/plugin.py",
        "    if life and report.failed:",
        "    if False:",
        "tests/integration/testing/test_fixtures.py::test_a_test_that_fails_shows_its_plugins",
        "- plugin four -",
    ),
)
