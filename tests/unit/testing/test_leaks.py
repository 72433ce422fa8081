"""Which threads count as a leak of a test. Real: the threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pluginexec.testing import leaks
from tests.support.harness import PATIENCE


def test_a_worker_of_a_pool_is_no_leak_and_a_thread_that_ends_in_time_is_not() -> None:
    before = threading.enumerate()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert leaks.new_threads(before) == []
    end = threading.Event()
    thread = threading.Thread(target=lambda: end.wait())
    thread.start()
    assert leaks.new_threads(before) == [thread]
    end.set()
    assert leaks.remaining(lambda: leaks.new_threads(before), PATIENCE) == []


def test_a_thread_that_runs_an_installed_package_is_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    before, end = threading.enumerate(), threading.Event()
    thread = threading.Thread(target=lambda: end.wait())
    thread.start()
    try:
        assert leaks.new_threads(before) == [thread]
        monkeypatch.setattr(leaks, "_INSTALLED", (str(Path(__file__).parent),))
        assert leaks.new_threads(before) == []
        monkeypatch.setattr(leaks, "_PACKAGE", str(Path(__file__).parent))
        assert leaks.new_threads(before) == [thread]
    finally:
        end.set()
        thread.join()
