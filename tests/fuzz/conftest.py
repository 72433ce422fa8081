"""Hypothesis in these tests: its seed is the run's, and what it keeps lies in pytest's cache."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir


def pytest_configure(config: pytest.Config) -> None:
    """Keep hypothesis' files out of the working directory."""
    if cache := getattr(config, "cache", None):
        set_hypothesis_home_dir(cache.mkdir("hypothesis"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed a test of hypothesis: the printed seed gives it the same inputs again."""
    test = item.obj if isinstance(item, pytest.Function) else None
    if test and hypothesis.is_hypothesis_test(test):
        hypothesis.seed(f"{item.config.option.seed} {item.nodeid}")(test)
