"""Fixtures: a real containerd for the whole run, and executors, ids and root directories for each test.

After each test nothing may be left: no thread, child, file descriptor, container, shim, mount or FIFO.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, ExitHandler, Remote, default_spec
from pluginexec.cleanup.shims import find_shims
from pluginexec.containerd.client import Client
from pluginexec.linux.mounts import unmount_below
from pluginexec.testing.rootfs import make_rootfs
from tests.support import embedded
from tests.support.harness import Exits, held_descriptors, live_children, our_threads, wait_until
from tests.support.plugins import Plugins

_numbers = itertools.count(1)

UNIT = Path(__file__).parent / "unit"
REAL = {"containerd", "mortal", "short_root"}
"""Fixtures that run a containerd, or let a command start one."""
STARTERS = {"Containerd", "private_containerd", "ensure_running", "ensure_private"}
"""Names by which a module starts one itself."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the tests that roll dice."""
    parser.addoption("--seed", help="seed of the tests that roll dice; by default another one each time, and printed")
    parser.addoption(
        "--rounds", type=int, default=5, help="how often a fault is injected at a random point (%(default)s)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose a seed where none was given, and have Ctrl-C heard."""
    config.option.seed = config.option.seed or secrets.token_hex(4)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has it ignored in what it starts in the background, and so would all the commands under test.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a containerd, and refuse such below ``unit``."""
    for item in items:
        if uses_containerd(item):
            item.add_marker("containerd")
            if item.path.is_relative_to(UNIT):
                raise pytest.UsageError(f"{item.nodeid} uses a containerd: it belongs below tests/integration")


def uses_containerd(item: pytest.Item) -> bool:
    """Return whether a test uses a real containerd, by a fixture or by what its module has imported or made."""
    if REAL & set(getattr(item, "fixturenames", ())):
        return True
    module = vars(getattr(item, "module", item))
    # A type hint needs the name, too: then it is imported for type checkers alone.
    return bool(STARTERS & module.keys())


def pytest_report_header(config: pytest.Config) -> str:
    """Print the seed: with it, each test rolls the same dice again."""
    return f"dice: --seed {config.option.seed} --rounds {config.option.rounds}"


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Dice of this test alone: they fall the same with the same seed, whichever other tests run."""
    return random.Random(f"{request.config.option.seed} {request.node.nodeid}")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> range:
    """How often to inject a fault."""
    return range(request.config.option.rounds)


@pytest.fixture(scope="session")
def rootfs() -> Iterator[Path]:
    """A root file system with busybox."""
    directory = Path(tempfile.mkdtemp(prefix="px-rootfs-"))
    try:
        yield make_rootfs(directory)
    finally:
        shutil.rmtree(directory)


@contextmanager
def private_containerd() -> Iterator[Containerd]:
    """Run a private containerd; its directory is short, because the path of a socket is."""
    directory = tempfile.mkdtemp(prefix="px-", dir="/tmp")
    try:
        with Containerd(directory) as containerd:
            yield containerd
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    """A private containerd."""
    with private_containerd() as containerd:
        yield containerd


@pytest.fixture
def mortal(clean_root: None) -> Iterator[Containerd]:
    """A containerd of the test's own, that it may kill."""
    with private_containerd() as containerd:
        yield containerd


@pytest.fixture
def short_root(no_leaks: None) -> Iterator[Path]:
    """A root that may have a private containerd."""
    with embedded.short_root() as root:
        yield root


@pytest.fixture
def remote(containerd: Containerd) -> Remote:
    """How to reach the private containerd."""
    return containerd.remote


@pytest.fixture
def client(remote: Remote) -> Client:
    """A client of the private containerd, in the plugins' namespace."""
    return remote.new_client(PLUGIN_NAMESPACE)


@pytest.fixture
def new_id() -> Callable[[], str]:
    """Make ids that no other test run on this machine uses: containers of one id share a cgroup."""
    return lambda: f"t{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def id(new_id: Callable[[], str]) -> str:
    """An id."""
    return new_id()


@pytest.fixture
def shell(rootfs: Path) -> Callable[..., dict[str, Any]]:
    """Make the spec of a plugin that runs a shell script."""

    def make(id: str, script: str, **changes: Any) -> dict[str, Any]:
        return default_spec(rootfs, ["sh", "-c", script], id=id, **changes)

    return make


@pytest.fixture
def root_dir(tmp_path: Path) -> Path:
    """A root directory of the test's own, which pytest removes some runs later."""
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def exits() -> Exits:
    """An exit handler that remembers."""
    return Exits()


@pytest.fixture
def new_executor(
    clean_namespace: None, root_dir: Path, remote: Remote, exits: Exits
) -> Iterator[Callable[..., Executor]]:
    """Make executors on the test's root directory, with the handler that remembers; all are closed in the end."""
    executors: list[Executor] = []

    def make(handler: ExitHandler | None = exits, **changes: Any) -> Executor:
        executors.append(Executor(changes.pop("root", root_dir), changes.pop("remote", remote), handler, **changes))
        return executors[-1]

    yield make
    for executor in executors:
        executor.close()


@pytest.fixture
def executor(new_executor: Callable[..., Executor]) -> Executor:
    """An executor with the handler that remembers."""
    return new_executor()


@pytest.fixture
def plugins(
    clean_namespace: None, root_dir: Path, containerd: Containerd, new_id: Callable[[], str], shell: Any
) -> Plugins:
    """Plugins with records, under the test's root."""
    return Plugins(root_dir, containerd.address, new_id, shell)


@pytest.fixture
def clean_root(root_dir: Path, no_leaks: None) -> Iterator[None]:
    """Remove a test's root, and see that nothing outlives that.

    Whoever ends containers does so before: without the runtime's state in it, "ctr tasks rm --force" waits for ever.
    """
    yield
    unmount_below(root_dir / "containers")  # the root file systems of images, if the test failed
    # What nobody has read is held for the next executor, as long as its files are there.
    shutil.rmtree(root_dir, ignore_errors=True)
    wait_until(lambda: not loggers(root_dir), "the end of the loggers")
    assert not removed_cgroups(f"*/pluginexec/t{os.getpid()}-*")
    assert not removed_cgroups(f"pluginexec/t{os.getpid()}-*")


@pytest.fixture
def clean_namespace(client: Client, containerd: Containerd, clean_root: None) -> Iterator[None]:
    """Delete what a test leaves in containerd on purpose, and see that nothing outlives that."""
    yield
    for id in client.tasks():
        client.delete_task(id, force=True)
    for id in client.containers():
        client.delete_container(id)
    wait_until(lambda: not shims(containerd), "the end of the shims")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(containerd.address).removesuffix("containerd.sock") not in mounts


def removed_cgroups(pattern: str) -> list[Path]:
    """Return the cgroups that are left, after removing them: only the test that left them is to fail."""
    left = list(Path("/sys/fs/cgroup").glob(pattern))
    for cgroup in left:
        with suppress(OSError):
            cgroup.rmdir()
    return left


def shims(containerd: Containerd) -> list[psutil.Process]:
    """Return the live shims of a containerd."""
    return list(find_shims(containerd.address))


def loggers(root_dir: Path) -> list[psutil.Process]:
    """Return the live loggers of a root's plugins."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(f"{root_dir}/" in word for word in process.info["cmdline"] or [] if word.startswith("PATH="))
    ]


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a child or a file descriptor behind."""
    if "containerd" in request.fixturenames:
        request.getfixturevalue("containerd")  # it stays, so it must be there before
    threads, children, descriptors = our_threads(), live_children(), held_descriptors()
    yield
    wait_until(lambda: our_threads() <= threads, f"the end of threads beyond {threads}")
    wait_until(lambda: live_children() <= children, f"the end of children beyond {children}")
    wait_until(
        lambda: len(held_descriptors()) <= len(descriptors),
        f"the closing of {set(held_descriptors().items()) - set(descriptors.items())}",
    )
