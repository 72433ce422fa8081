"""What the page of the pytest plugin shows works exactly as it shows it.

Real: the snippets, pytest in a process of its own, containerd, plugins.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.integration.testing.conftest import Inner

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[3] / "pluginexec" / "testing" / "README.rst").read_text()


def snippet(language: str) -> str:
    (text,) = re.findall(rf"code-block:: {language}\n\n((?:    .*\n|\n)+)", PAGE)
    return textwrap.dedent(text)


def test_the_test_file_passes_with_the_options_that_are_shown(inner: Inner) -> None:
    (inner.path / "pytest.ini").write_text(snippet("ini"))
    inner.run(snippet("python"), "--strict-config").assert_outcomes(passed=2)
    inner.check_nothing_left()


def test_each_option_that_is_named_is_there_and_none_is_missing(pytester: pytest.Pytester) -> None:
    named = set(re.findall(r"``(--pluginexec-\w+)", PAGE))
    help = pytester.runpytest_subprocess("--help").stdout.str()
    assert named == set(re.findall(r"(?m)^ +(--pluginexec-\w+)", help))
