"""The FIFOs of a container that something else created, found at its shim.

Real: the FIFOs and /proc. This process plays the shim, and a child of it the container's init process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec.errors import PermissionDenied
from pluginexec.streams.fifos import find_fifos

OpenFifo = Callable[..., Path]


@pytest.fixture
def init() -> Iterator[int]:
    """A live child of this process."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def open_fifo(tmp_path: Path) -> Iterator[OpenFifo]:
    """Make a FIFO and open it as a shim does: both ends, each on its own."""
    opened: list[int] = []

    def open_(name: str, *modes: int) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)
        for mode in modes or (os.O_RDONLY, os.O_WRONLY):
            opened.append(os.open(path, mode | os.O_NONBLOCK))
        return path

    yield open_
    for descriptor in opened:
        os.close(descriptor)


def same(found: Path | None, fifo: Path) -> bool:
    return found is not None and os.path.samestat(found.stat(), fifo.stat())


def test_the_fifos_that_containerds_library_makes_are_found(open_fifo: OpenFifo, init: int) -> None:
    stdout, stderr = open_fifo("p-stdout"), open_fifo("p-stderr")
    found = find_fifos("p", init)
    assert same(found[0], stdout)
    assert same(found[1], stderr)


def test_the_fifos_that_mobys_older_library_made_are_found(open_fifo: OpenFifo, init: int) -> None:
    stdout, stderr = open_fifo("p/init-stdout"), open_fifo("p/init-stderr")
    found = find_fifos("p", init)
    assert same(found[0], stdout)
    assert same(found[1], stderr)


def test_a_fifo_whose_name_is_gone_is_found(open_fifo: OpenFifo, init: int) -> None:
    fifo = open_fifo("p-stdout")
    before = fifo.stat()
    fifo.unlink()
    stdout, stderr = find_fifos("p", init)
    assert stdout
    assert os.path.samestat(stdout.stat(), before)
    assert stderr is None


@pytest.mark.parametrize("deleted", [True, False])
def test_the_fifos_of_our_own_logger_are_found_once_its_root_is_deleted(
    tmp_path: Path, init: int, deleted: bool
) -> None:
    directory = tmp_path / "containers" / "p"
    directory.mkdir(parents=True)
    for name in ("stdout", "stderr"):
        os.mkfifo(directory / name)
    both = [os.open(directory / name, os.O_RDWR) for name in ("stdout", "stderr")]
    with subprocess.Popen(["sleep", "1000"], pass_fds=both) as logger:
        before = [os.fstat(descriptor) for descriptor in both]
        for descriptor in both:
            os.close(descriptor)
        if deleted:
            shutil.rmtree(directory)
        found = find_fifos("p", init)
        other = find_fifos("q", init)
        same = [
            path is not None and os.path.samestat(path.stat(), was) for path, was in zip(found, before, strict=True)
        ]
        logger.kill()
    # Where they still have their names they are another executor's.
    assert same == [deleted, deleted]
    assert other == [None, None]


def test_fifos_of_other_containers_and_of_execs_are_not_taken(open_fifo: OpenFifo, init: int) -> None:
    for name in ("q-stdout", "q/init-stdout", "p/exec-stdout", "p-p-stdout", "p-stdout.old"):
        open_fifo(name)
    assert find_fifos("p", init) == [None, None]


def test_a_fifo_that_the_shim_only_reads_is_not_taken(open_fifo: OpenFifo, init: int) -> None:
    open_fifo("p-stdout", os.O_RDONLY)
    assert find_fifos("p", init) == [None, None]


def test_what_is_no_fifo_is_not_taken(tmp_path: Path, init: int) -> None:
    with open(tmp_path / "p-stdout", "wb"):
        assert find_fifos("p", init) == [None, None]


def test_there_is_nothing_where_the_process_has_ended(open_fifo: OpenFifo) -> None:
    open_fifo("p-stdout")
    process = subprocess.Popen(["true"])
    process.wait()
    assert find_fifos("p", process.pid) == [None, None]


def test_who_may_not_look_is_told_so(init: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(PermissionDenied, match="the shim of 'p'"):
        find_fifos("p", init)
