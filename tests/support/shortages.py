"""Take away, for a while, what an executor needs: room on its disk, descriptors, processes and threads."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.support.harness import held_descriptors, wait_until

PAGE = 4096
DISK_FAULTS = ("full", "out of inodes", "read-only")
_CGROUPS = Path("/sys/fs/cgroup")


class Disk:
    """A small file system on a directory, until ``end``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast: list[Path] = []
        self._covered = False
        _mount("-t", "tmpfs", "-o", "size=512k,nr_inodes=256,mode=0700", "pluginexec-test", str(directory))

    def spoil(self, fault: str, spare: int = 0) -> None:
        """Make it useless, but for some spare pages or inodes."""
        if fault == "read-only":
            # Over itself, because what is open for writing keeps a file system from becoming read-only.
            _mount("--bind", str(self.directory), str(self.directory))
            self._covered = True
            _mount("-o", "remount,bind,ro", str(self.directory))
            return
        fill = self._fill_inodes if fault == "out of inodes" else self._fill_pages
        with contextlib.suppress(OSError):
            fill()
        for path in self._ballast[len(self._ballast) - spare :]:
            path.unlink(missing_ok=True)

    def _fill_inodes(self) -> None:
        while True:
            self._new_ballast().touch()

    def _fill_pages(self) -> None:
        while True:
            self._new_ballast().write_bytes(bytes(PAGE))

    def _new_ballast(self) -> Path:
        self._ballast.append(self.directory / f"ballast{len(self._ballast)}")
        return self._ballast[-1]

    def repair(self) -> None:
        """Make it usable again; may be called again."""
        if self._covered:
            # A logger may have opened a file through it, and keep that until the file is gone.
            subprocess.run(["umount", "--lazy", str(self.directory)], check=True)
            self._covered = False
        while self._ballast:
            self._ballast.pop().unlink(missing_ok=True)

    def end(self) -> None:
        """Unmount it, when nobody uses it any more."""
        self.repair()
        try:
            wait_until(lambda: _unmount(self.directory), "the end of who uses the disk")
        except AssertionError:
            print(f"still there: {holders(self.directory)}")
            subprocess.run(["umount", "--lazy", str(self.directory)], check=True)
            raise


def holders(directory: Path) -> set[tuple[int, str]]:
    """Return pid and name of each other process that has a file below a directory open, though it be deleted."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):  # gone meanwhile
            links = list(Path(f"/proc/{process.pid}/fd").iterdir())
            if process.pid != os.getpid() and any(_leads_below(link, directory) for link in links):
                found.add((process.pid, process.name()))
    return found


def _leads_below(link: Path, directory: Path) -> bool:
    try:
        return os.readlink(link).startswith(f"{directory}/")
    except FileNotFoundError:  # closed meanwhile
        return False


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _unmount(directory: Path) -> bool:
    return subprocess.run(["umount", str(directory)], stderr=subprocess.DEVNULL).returncode == 0


@contextlib.contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Let this process open no more than so many files, for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = held_descriptors().keys()
    limit = 0
    while spare or limit in held:
        spare -= limit not in held
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ProcessLimit:
    """A cgroup in which there can be only so many processes and threads; ``RuntimeError`` where it cannot be made."""

    def __init__(self, name: str) -> None:
        v1 = _CGROUPS / "pids"
        self._path = (v1 if v1.is_dir() else _CGROUPS) / name
        try:
            if not v1.is_dir():
                (_CGROUPS / "cgroup.subtree_control").write_text("+pids")
            self._path.mkdir()
        except OSError as error:
            raise RuntimeError(f"no cgroup that limits processes can be had: {error}") from error

    def add(self, pid: int) -> None:
        """Put a process into it; what that starts from now on is in it too."""
        (self._path / "cgroup.procs").write_text(str(pid))

    def lower(self, spare: int) -> None:
        """Let there be so many more than there are now."""
        current = int((self._path / "pids.current").read_text())
        (self._path / "pids.max").write_text(str(current + spare))

    def lift(self) -> None:
        """Let there be as many as may."""
        (self._path / "pids.max").write_text("max")

    def remove(self) -> None:
        """Remove it, when all that is in it has ended."""
        wait_until(self._is_empty, "the end of who is in the cgroup")
        self._path.rmdir()

    def _is_empty(self) -> bool:
        return not (self._path / "cgroup.procs").read_text()
