"""What pytest loads: the hooks and the fixtures. All that is heavy is imported by the first fixture that is used."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pluginexec.testing.options import Settings, add_options, read_settings
from pluginexec.testing.placenames import has_places

if TYPE_CHECKING:
    from pathlib import Path

    from pluginexec import Executor
    from pluginexec.testing import Daemon, DockerPluginFactory, PluginFactory
    from pluginexec.testing.environment import Life
    from pluginexec.testing.session import Session

_SETTINGS = pytest.StashKey[Settings]()
_SESSION: pytest.StashKey[Session] = pytest.StashKey()
_LIFE: pytest.StashKey[Life] = pytest.StashKey()
_CHECKED = pytest.StashKey[bool]()
_RUN = pytest.StashKey[str]()
_INPUT = "pluginexec_run"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse bad options before any test runs."""
    config.stash[_SETTINGS] = read_settings(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist which run it belongs to."""
    node.workerinput[_INPUT] = node.config.stash.setdefault(_RUN, os.urandom(4).hex())


@pytest.fixture(scope="session")
def _pluginexec_daemon(request: pytest.FixtureRequest) -> Daemon:
    from pluginexec.testing.requirements import why_not
    from pluginexec.testing.session import Session

    config = request.config
    settings = config.stash[_SETTINGS]
    reason = why_not(settings)
    if reason:
        _cannot(settings, reason)
    run: str | None = getattr(config, "workerinput", {}).get(_INPUT)
    # Before anything is started: an interrupt may come at any time, and the end of the session closes what there is.
    session = config.stash[_SESSION] = Session(settings, run)
    return session.daemon()


@pytest.fixture
def _pluginexec_life(request: pytest.FixtureRequest, _pluginexec_daemon: Daemon) -> Iterator[Life]:
    def busybox() -> Path:
        rootfs: Path = request.getfixturevalue("busybox_rootfs")
        return rootfs

    life = request.config.stash[_SESSION].new_life(_pluginexec_daemon, busybox)
    request.node.stash[_LIFE], request.node.stash[_CHECKED] = life, False  # a test may run more than once
    yield life
    life.end()


@pytest.fixture(scope="session")
def containerd(_pluginexec_daemon: Daemon) -> Daemon:
    """The containerd of the tests: a private one, of each xdist worker or shared by all, or one that is there."""
    return _pluginexec_daemon


@pytest.fixture
def executor(_pluginexec_life: Life) -> Executor:
    """An ``Executor`` with a root and a namespace of the test's own; what runs when the test is over is ended."""
    return _pluginexec_life.executor


@pytest.fixture
def plugin(_pluginexec_life: Life) -> PluginFactory:
    """Run plugins: ``plugin(["sh", "-c", "..."])`` returns a handle; see ``pluginexec.testing.PluginFactory``."""
    return _pluginexec_life.plugins


@pytest.fixture
def docker_plugin(_pluginexec_life: Life) -> DockerPluginFactory:
    """Enable Docker managed plugins: ``docker_plugin(PATH)`` returns one; see ``pluginexec.ManagedPlugin``."""
    return _pluginexec_life.docker_plugins


@pytest.fixture(scope="session")
def busybox_rootfs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with the machine's static busybox, for all tests: copy it before you change it."""
    from pluginexec.testing.rootfs import find_busybox, make_rootfs

    if find_busybox() is None:
        reason = "no static busybox on this machine: install it (Debian: apt-get install busybox-static)"
        _cannot(request.config.stash[_SETTINGS], reason)
    directory = tmp_path_factory.mktemp("busybox")
    directory.chmod(0o755)  # not only root may run in it
    return make_rootfs(directory)


def _cannot(settings: Settings, reason: str) -> NoReturn:
    if settings.required:
        pytest.fail(f"pluginexec is required, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test if it has left anything, when all its fixtures have ended."""
    try:
        result = yield
    except KeyboardInterrupt:  # the end of the session sees to it
        raise
    except BaseException:
        item.add_report_section("teardown", "leaks", _left_behind(item))
        raise
    if text := _left_behind(item):
        pytest.fail(text, pytrace=False)
    return result


def _left_behind(item: pytest.Item) -> str:
    life = item.stash.get(_LIFE, None)
    if life is None or item.stash[_CHECKED]:
        return ""
    item.stash[_CHECKED] = True
    arguments = getattr(item, "funcargs", {})
    left = life.check(*(arguments[name] for name in ("tmp_path",) if name in arguments))
    return "\n".join(["this test left behind what is ended now, where it can be:", *left]) if left else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the plugins of a test that failed: how each ended, and what it printed last."""
    report = yield
    life = item.stash.get(_LIFE, None)
    if life and report.failed:
        report.sections += life.reports()
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End all that is left, when the fixtures have ended, and before xdist counts the time that its worker takes."""
    _close(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what a second Ctrl-C has kept us from ending, and what workers of xdist have left that were killed."""
    _close(config)
    if _RUN in config.stash and has_places(config.stash[_RUN]):
        from pluginexec.testing.run_directories import end_the_dead

        end_the_dead()


def _close(config: pytest.Config) -> None:
    session = config.stash.get(_SESSION, None)
    if session:
        session.close()
