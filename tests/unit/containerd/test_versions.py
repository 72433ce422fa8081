"""A warning of a containerd that was never tried: once, and nothing but a warning.

Real: containerd, its ``ctr``, the plugins, ``pluginexec run``. A script before the real ``ctr`` claims other versions,
or tells none.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginexec.containerd import versions
from pluginexec.containerd.versions import TESTED, series, warn_if_untested
from tests.support.harness import PATIENCE


@pytest.fixture(autouse=True)
def nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests were warned of."""
    monkeypatch.setattr(versions, "_warned", set())


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the warnings of untested versions so far."""
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == versions.__name__ and record.levelno == logging.WARNING
    ]


Warnings = Callable[[], list[str]]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.6.20~ds1", "1.6"),
        ("1.7.24", "1.7"),
        ("v2.1.9+unknown", "2.1"),
        ("2.3.0-rc.1", "2.3"),
        ("2.1", "2.1"),
        ("1.60.1", "1.60"),
        ("12.1.9", "12.1"),
        ("21.9", "21.9"),
        ("2", None),
        ("2.x", None),
        ("2.1x", None),
        ("x2.1", None),
        ("", None),
        ("unknown", None),
        ("\u0662.\u0661.\u0669", None),
        ("9" * 9999 + ".1", None),
    ],
)
def test_a_series_is_the_first_two_numbers_of_a_version(version: str, expected: str | None) -> None:
    assert series(version) == expected


@pytest.mark.parametrize("version", ["1.6.20~ds1", "1.7.24~ds1", "v2.1.9+unknown", "2.1.0-rc.1"])
def test_no_version_of_a_tried_series_is_warned_of(version: str, warnings: Warnings) -> None:
    warn_if_untested("containerd", version)
    assert warnings() == []


def test_an_untested_version_is_warned_of_once_and_another_once_more(warnings: Warnings) -> None:
    for version in ("2.3.0-rc.1", "2.3.0-rc.1", "1.60.1", "2.3.0-rc.1"):
        warn_if_untested("containerd", version)
    first, second = warnings()
    assert first.startswith("containerd 2.3.0-rc.1 has not been tested")
    assert all(tried in first for tried in TESTED)
    assert second.startswith("containerd 1.60.1 has not been tested")


@pytest.mark.parametrize("version", ["(devel)", "a\nb\x1b[31m", "x" * 5000])
def test_what_is_no_version_is_shown_quoted_in_one_short_line(version: str, warnings: Warnings) -> None:
    warn_if_untested("containerd", version)
    (line,) = warnings()
    assert line.startswith("containerd '")
    assert line.isprintable()
    assert len(line) < 300


def test_many_threads_warn_once(warnings: Warnings) -> None:
    start = threading.Barrier(20)

    def warn() -> None:
        start.wait(PATIENCE)
        warn_if_untested("containerd", "2.3.0")

    threads = [threading.Thread(target=warn) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings()) == 1


# The table.


def test_every_module_that_speaks_of_one_series_stands_in_the_table() -> None:
    assert versions.__doc__
    table = versions.__doc__[versions.__doc__.index("====") :]
    column = table.splitlines()[1].index("module")
    named = {line[column:] for line in table.splitlines()[3:] if line[column:].strip(" =")}
    package = Path(versions.__file__).parents[1]
    paths = {file: ".".join(file.relative_to(package).with_suffix("").parts) for file in package.rglob("*.py")}
    speak = {name for file, name in paths.items() if re.search(r"\b(1\.6|1\.7|2\.1)\b", file.read_text())}
    assert speak - named - {"containerd.versions"} == set(), "the table in pluginexec/containerd/versions.py lacks them"
    assert named - set(paths.values()) == set()


def test_readme_names_a_version_of_each_series_that_was_tested() -> None:
    readme = (Path(__file__).parents[3] / "README.rst").read_text()
    (line,) = re.findall(r"Tested with containerd ([0-9., and]+) \(", readme)
    assert [series(version) for version in re.findall(r"[0-9.]+", line)] == list(TESTED)
