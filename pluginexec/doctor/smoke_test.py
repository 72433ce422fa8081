"""Run a tiny plugin, see that its output and its exit arrive, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pluginexec.containerd.remote import Remote
from pluginexec.daemon.containerd import Containerd
from pluginexec.daemon.private import choose, private_address
from pluginexec.doctor.elf import GREETING, tiny_program
from pluginexec.errors import FailedPrecondition, PluginExecError, Unavailable, Unknown
from pluginexec.executor.executor import Executor
from pluginexec.oci.spec import default_spec
from pluginexec.root import file_error

SCRATCH_PREFIX = "dr-"
"""What a trial's directory under the root is called; short, because the path of a socket is."""
_TIMEOUT = 30.0
"""Seconds that the tiny plugin may take to end."""
_PROGRAM = "tiny"


class NotTried(FailedPrecondition):
    """There is no program for this machine, or no place for it."""


class _Output:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)

    def close(self) -> None:
        pass


def run_tiny_plugin(address: str | None, root: Path) -> float:
    """Run the plugin where plugins of this root would run; return the seconds from its creation to its exit.

    Where no containerd listens, one is started for this alone. Raises ``NotTried`` where that cannot be, and else
    what went wrong.
    """
    with _rootfs(root) as rootfs, _scratch(root) as scratch, _containerd(address, root, scratch) as remote:
        return _live(remote, scratch, rootfs)


def _live(remote: Remote, scratch: Path, rootfs: Path) -> float:
    id = f"doctor-{secrets.token_hex(6)}"
    spec = default_spec(rootfs, [f"/{_PROGRAM}"], id=id)
    spec["linux"]["cgroupsPath"] = f"/{id}"  # not below one that would stay
    stdout, stderr = _Output(), _Output()
    try:
        with Executor(scratch / "plugins", remote, namespace=id) as executor:  # a namespace of its own, too
            began = time.monotonic()
            executor.create(id, spec, stdout, stderr)
            try:
                status = executor.wait(id, _TIMEOUT)
            except BaseException:
                with contextlib.suppress(PluginExecError):
                    executor.stop(id, timeout=0)
                raise
            seconds = time.monotonic() - began
    finally:
        with contextlib.suppress(PluginExecError):
            remote.new_client(id).delete_namespace()
    if status.exit_code != 0 or stdout.data != GREETING:
        raise Unknown(
            f"it ended with code {status.exit_code} and printed {stdout.data + stderr.data!r}, not 0 and {GREETING!r}"
        )
    return seconds


@contextlib.contextmanager
def _containerd(address: str | None, root: Path, scratch: Path) -> Iterator[Remote]:
    for remote in (choose(address), Remote(private_address(root))):
        if remote.listens():
            yield remote
            return
    with Containerd(scratch) as containerd:
        yield containerd.remote


@contextlib.contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """Make a directory under the root, and the root too if need be; remove what was made."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    scratch = root / f"{SCRATCH_PREFIX}{secrets.token_hex(3)}"
    try:
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch.mkdir(mode=0o700)
        except OSError as error:
            raise file_error(error, f"no directory can be made in {str(root)!r}") from error
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for path in missing:
            with contextlib.suppress(OSError):  # somebody else uses it by now
                path.rmdir()


@contextlib.contextmanager
def _rootfs(root: Path) -> Iterator[Path]:
    program = tiny_program(os.uname().machine)
    if program is None:
        raise NotTried(f"there is no tiny program for {os.uname().machine}")
    # Often not under the root: Debian mounts /run so that nothing in it can be executed.
    candidates = (tempfile.gettempdir(), "/var/tmp", root)
    place = next((place for place in candidates if _can_execute(place)), None)
    if place is None:
        raise NotTried(
            f"no directory of {', '.join(map(str, candidates))} allows programs to be executed",
            hint="set TMPDIR to one that does",
        )
    try:
        directory = tempfile.mkdtemp(prefix="pluginexec-doctor-", dir=place)
    except OSError as error:
        raise Unavailable(f"no directory can be made in {str(place)!r}: {error.strerror}") from error
    try:
        path = Path(directory) / _PROGRAM
        path.write_bytes(program)
        path.chmod(0o700)
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _can_execute(directory: str | Path) -> bool:
    try:
        return not os.statvfs(directory).f_flag & os.ST_NOEXEC
    except OSError:
        return False
