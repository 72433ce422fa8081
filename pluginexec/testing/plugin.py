"""What pytest loads: the hooks and the fixtures. The first fixture that is used imports the rest."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pluginexec.testing.options import Settings, add_options, read_settings
from pluginexec.testing.run_directory_names import has_run_directories

if TYPE_CHECKING:
    from pathlib import Path

    from pluginexec import Executor
    from pluginexec.testing import Daemon, DockerPluginFactory, PluginFactory
    from pluginexec.testing.environment import Environment
    from pluginexec.testing.session import Session

_SETTINGS = pytest.StashKey[Settings]()
_SESSION: pytest.StashKey[Session] = pytest.StashKey()
_ENVIRONMENT: pytest.StashKey[Environment] = pytest.StashKey()
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
    """Pass to an xdist worker which run it belongs to."""
    node.workerinput[_INPUT] = node.config.stash.setdefault(_RUN, os.urandom(4).hex())


@pytest.fixture(scope="session")
def _pluginexec_daemon(request: pytest.FixtureRequest) -> Daemon:
    from pluginexec.testing.requirements import missing_containerd, missing_requirement
    from pluginexec.testing.session import Session

    config = request.config
    settings = config.stash[_SETTINGS]
    if missing := missing_containerd(settings):  # no reason to skip: somebody asked for this one
        pytest.fail(missing, pytrace=False)
    reason = missing_requirement(settings)
    if reason:
        _skip_or_fail(settings, reason)
    run: str | None = getattr(config, "workerinput", {}).get(_INPUT)
    # Stored before anything is started: an interrupt may come at any time, and pytest_sessionfinish closes it.
    session = config.stash[_SESSION] = Session(settings, run)
    return session.daemon()


@pytest.fixture
def _pluginexec_environment(request: pytest.FixtureRequest, _pluginexec_daemon: Daemon) -> Iterator[Environment]:
    def busybox() -> Path:
        rootfs: Path = request.getfixturevalue("busybox_rootfs")
        return rootfs

    environment = request.config.stash[_SESSION].new_environment(_pluginexec_daemon, busybox)
    request.node.stash[_ENVIRONMENT], request.node.stash[_CHECKED] = environment, False  # a test may run more than once
    yield environment
    environment.end()


@pytest.fixture(scope="session")
def containerd(_pluginexec_daemon: Daemon) -> Daemon:
    """Return the containerd of the tests: a private one, of each xdist worker or shared by all, or an existing one."""
    return _pluginexec_daemon


@pytest.fixture
def executor(_pluginexec_environment: Environment) -> Executor:
    """Return an ``Executor`` with a root and a namespace of the test's own; its plugins are ended with the test."""
    return _pluginexec_environment.executor


@pytest.fixture
def plugin(_pluginexec_environment: Environment) -> PluginFactory:
    """Run plugins: ``plugin(["sh", "-c", "..."])`` returns a handle; see ``pluginexec.testing.PluginFactory``."""
    return _pluginexec_environment.plugins


@pytest.fixture
def docker_plugin(_pluginexec_environment: Environment) -> DockerPluginFactory:
    """Enable Docker managed plugins: ``docker_plugin(PATH)`` returns one; see ``pluginexec.ManagedPlugin``."""
    return _pluginexec_environment.docker_plugins


@pytest.fixture(scope="session")
def busybox_rootfs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root file system with the machine's busybox, shared by all tests: copy it before you change it."""
    from pluginexec.testing.rootfs import find_busybox, make_rootfs

    if find_busybox() is None:
        reason = "no static busybox on this machine: install it (Debian: apt-get install busybox-static)"
        _skip_or_fail(request.config.stash[_SETTINGS], reason)
    directory = tmp_path_factory.mktemp("busybox")
    directory.chmod(0o755)  # plugins may run as other users than root
    return make_rootfs(directory)


def _skip_or_fail(settings: Settings, reason: str) -> NoReturn:
    if settings.required:
        pytest.fail(f"pluginexec is required, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test if it has left anything behind once all its fixtures have ended."""
    try:
        result = yield
    except KeyboardInterrupt:  # pytest_sessionfinish cleans up
        raise
    except BaseException:
        item.add_report_section("teardown", "leaks", _left_behind(item))
        raise
    if text := _left_behind(item):
        pytest.fail(text, pytrace=False)
    return result


def _left_behind(item: pytest.Item) -> str:
    environment = item.stash.get(_ENVIRONMENT, None)
    if environment is None or item.stash[_CHECKED]:
        return ""
    item.stash[_CHECKED] = True
    arguments = getattr(item, "funcargs", {})
    left = environment.check(*(arguments[name] for name in ("tmp_path",) if name in arguments))
    return "\n".join(["the test left behind, and these are ended now if possible:", *left]) if left else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the plugins of a failed test: the state of each, and its last output."""
    report = yield
    environment = item.stash.get(_ENVIRONMENT, None)
    if environment and report.failed:
        report.sections += environment.reports()
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what is left, after the fixtures and before xdist starts the clock on its worker."""
    _close(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what a second Ctrl-C kept from being ended, and what killed xdist workers left behind."""
    _close(config)
    if _RUN in config.stash and has_run_directories(config.stash[_RUN]):
        from pluginexec.testing.run_directories import end_stale_runs

        end_stale_runs()


def _close(config: pytest.Config) -> None:
    session = config.stash.get(_SESSION, None)
    if session:
        session.close()
