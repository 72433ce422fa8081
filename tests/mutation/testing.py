"""The guards of the pytest plugin."""

from __future__ import annotations

from tests.mutation.guard import Guard

PYTEST_PLUGIN = (
    Guard(
        "a test that leaves something behind fails",
        "pluginexec.testing.plugin:pytest_runtest_teardown",
        "pytest.fail(text, pytrace=False)",
        "pass",
        "tests/integration/testing/test_leaks.py::test_each_kind_of_leak_fails_the_test_that_left_it_and_is_ended",
        r"rors': 0, ",
    ),
)
