"""The doctor's last check: run a tiny plugin, compare its output and exit code, and remove every trace of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pluginexec.containerd.remote import DEFAULT_TIMEOUT, Remote
from pluginexec.daemon.containerd import Containerd
from pluginexec.daemon.private import find_listening, may_be_private, not_listening
from pluginexec.daemon.target import Target
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check
from pluginexec.doctor.elf import GREETING, tiny_program
from pluginexec.errors import FailedPrecondition, PluginExecError, Unavailable, Unknown, one_line
from pluginexec.executor.executor import Executor
from pluginexec.linux import trees
from pluginexec.linux.directories import make_directory
from pluginexec.oci.default_spec import default_spec
from pluginexec.root.layout import Layout

SCRATCH_PREFIX = "dr-"
"""Prefix of the temporary directory under the state directory; short, because the path of a socket in it is limited."""
_TIMEOUT = 30.0
"""Seconds that the tiny plugin may take to end."""
_PROGRAM = "tiny"
_MESSAGE_LIMIT = 300


class NotTried(FailedPrecondition):
    """There is no program for this machine, or no directory that allows programs to be executed."""


class _Output:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)

    def close(self) -> None:
        pass


def check_plugin(target: Target) -> Check:
    """Run a tiny plugin, and report how long it took."""
    try:
        seconds = run_tiny_plugin(target.address, target.layout, target.timeout)
    except NotTried as error:
        return Check("plugin", WARNING, f"not tried: {error}", error.hint or "")
    except PluginExecError as error:
        remedy = error.hint or "fix the failures above first; then see containerd's log"
        return Check("plugin", FAILURE, one_line(str(error))[-_MESSAGE_LIMIT:], remedy)
    return Check("plugin", OK, f"a tiny plugin ran: {seconds * 1000:.0f} ms from creation to exit")


def run_tiny_plugin(address: str | None, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> float:
    """Run the plugin on the containerd of this root's plugins; return the seconds from its creation to its exit.

    If no containerd listens, a temporary one is started. Raise ``NotTried`` if there is no program or directory for
    it, otherwise the error that occurred.
    """
    with (
        _rootfs(layout.root) as rootfs,
        _scratch(layout) as scratch,
        _containerd(address, layout, scratch, timeout) as remote,
    ):
        return _run(remote, scratch, rootfs)


def _run(remote: Remote, scratch: Path, rootfs: Path) -> float:
    id = f"doctor-{secrets.token_hex(6)}"
    spec = default_spec(rootfs, [f"/{_PROGRAM}"], id=id)
    spec["linux"]["cgroupsPath"] = f"/{id}"  # not below a parent that would remain
    stdout, stderr = _Output(), _Output()
    try:
        with Executor(scratch / "plugins", remote, namespace=id) as executor:
            started = time.monotonic()
            executor.create(id, spec, stdout, stderr)
            try:
                status = executor.wait(id, _TIMEOUT)
            except BaseException:
                with contextlib.suppress(PluginExecError):
                    executor.stop(id, timeout=0)
                raise
            seconds = time.monotonic() - started
    finally:
        with contextlib.suppress(PluginExecError):
            remote.new_client(id).delete_namespace()
    if status.exit_code != 0 or stdout.data != GREETING:
        raise Unknown(
            f"it exited with code {status.exit_code} and printed {stdout.data + stderr.data!r}, not 0 and {GREETING!r}"
        )
    return seconds


@contextlib.contextmanager
def _containerd(address: str | None, layout: Layout, scratch: Path, timeout: float) -> Iterator[Remote]:
    if remote := find_listening(address, layout, timeout):
        yield remote
    elif may_be_private(address, layout):
        with Containerd(scratch, timeout=timeout) as containerd:
            yield containerd.remote
    else:
        raise not_listening(address)


@contextlib.contextmanager
def _scratch(layout: Layout) -> Iterator[Path]:
    """Create a directory under the state directory, and that if it is missing; remove what was created."""
    missing = [path for path in (layout.state, *layout.state.parents) if not path.exists()]
    scratch = layout.state / f"{SCRATCH_PREFIX}{secrets.token_hex(3)}"
    try:
        layout.make_state()
        make_directory(scratch)
        yield scratch
    finally:
        trees.remove(scratch)
        for path in missing:
            with contextlib.suppress(OSError):  # another process uses it by now
                path.rmdir()


@contextlib.contextmanager
def _rootfs(root: Path) -> Iterator[Path]:
    program = tiny_program(os.uname().machine)
    if program is None:
        raise NotTried(f"no tiny program for {os.uname().machine}")
    # Often not under the root: Debian mounts /run noexec.
    candidates = (tempfile.gettempdir(), "/var/tmp", root)
    parent = next((path for path in candidates if _can_execute(path)), None)
    if parent is None:
        raise NotTried(
            f"none of {', '.join(map(str, candidates))} allows programs to be executed",
            hint="set TMPDIR to one that does",
        )
    try:
        directory = tempfile.mkdtemp(prefix="pluginexec-doctor-", dir=parent)
    except OSError as error:
        raise Unavailable(f"cannot create a directory in {str(parent)!r}: {error.strerror}") from error
    try:
        path = Path(directory) / _PROGRAM
        path.write_bytes(program)
        path.chmod(0o700)
        yield Path(directory)
    finally:
        trees.remove(directory)


def _can_execute(directory: str | Path) -> bool:
    try:
        return not os.statvfs(directory).f_flag & os.ST_NOEXEC
    except OSError:
        return False
