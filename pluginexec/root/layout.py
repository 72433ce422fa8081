"""The paths below a root and its state directory; each is named here and nowhere else.

::

    ROOT/                       0700; survives a reboot; by default /var/lib/pluginexec
      plugins/ID/               the records and logs of the command line; see host/records
      images/                   what is known of images by digest; see images/store
      managed/NAME/             managed plugins; see host/managed/files
      seccomp/                  default profiles of the command line's plugins; see host/seccomp
      containerd/               the content and the log of the private containerd; see daemon/files
    STATE/                      0700; need not survive one; by default /run/pluginexec, or /run/pluginexec/by-root/HASH
      owner                     a link to the root
      lock                      flock: one executor, or several that share the directory
      runtime-root/             the OCI runtime's state
      unfinished/ID             what could not be deleted yet; see cleanup/unfinished
      containers/ID/            config.json, stdout and stderr (FIFOs), attached (lock), pid, ended.json, exit.json
      containerd/               the socket, the pid file, the lock and the state of the private containerd
      serve.lock, serve.sock    of ``pluginexec serve``

An executor of a program has one directory, its state directory, and managed plugins in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from pluginexec.errors import FailedPrecondition, InvalidArgument
from pluginexec.linux.directories import check_directory, make_directory
from pluginexec.linux.files import file_error

DEFAULT_ROOT = "/var/lib/pluginexec"
DEFAULT_STATE = "/run/pluginexec"
ROOT, STATE = "root directory", "state directory"
"""What messages call them."""
_DIGITS = 12
_VOLATILE = ("tmpfs", "ramfs")


class Layout:
    """The paths of a root and its state directory, which are absolute and may be the same."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root = root
        self.plugins = root / "plugins"
        self.managed = root / "managed"
        self.images = root / "images"
        self.seccomp = root / "seccomp"
        self.containerd = root / "containerd"
        self.state = state
        self.owner = state / "owner"
        self.lock = state / "lock"
        self.runtime_root = state / "runtime-root"
        self.unfinished = state / "unfinished"
        self.containers = state / "containers"
        self.containerd_state = state / "containerd"
        self.serve_lock = state / "serve.lock"
        self.serve_socket = state / "serve.sock"

    def __repr__(self) -> str:
        return f"Layout({str(self.root)!r}, {str(self.state)!r})"

    @property
    def has_state_of_its_own(self) -> bool:
        """Whether the state directory is one that was made for this root, because none was given."""
        return self.state.parent == _by_root()

    @property
    def survives_reboot(self) -> bool:
        """Whether what is below the root is still there after a reboot."""
        from pluginexec.linux.machine import existing_parent, file_system  # here, because it loads psutil

        return file_system(existing_parent(self.root)) not in _VOLATILE

    @classmethod
    def of(cls, root: str | os.PathLike[str], state: str | os.PathLike[str] | None = None) -> Layout:
        """Return the layout of a root, by default with its own state directory; ``InvalidArgument`` for a bad path."""
        path = absolute(root, ROOT)
        return cls(path, default_state(path) if state is None else absolute(state, STATE))

    @property
    def recorded_plugins(self) -> Path | None:
        """Where the root of the state directory has its records; ``None`` for one that belongs to no root."""
        try:
            return Path(os.readlink(self.owner)) / self.plugins.name
        except OSError:
            return None

    def check(self) -> None:
        """Raise unless both directories are this user's alone, or missing, and belong to each other.

        Raises as ``check_directory``, and ``FailedPrecondition`` for the state directory of another root.
        """
        check_directory(self.root, ROOT)
        if self.state != self.root:
            check_directory(self.state, STATE)
        self._check_owner()

    def make(self) -> None:
        """Make both directories; raises as ``check`` and ``make_directory``."""
        make_directory(self.root, ROOT)
        self.make_state()
        try:
            # A link is made whole or not at all, and never over another one.
            self.owner.symlink_to(os.path.realpath(self.root))
        except FileExistsError:
            self._check_owner()
        except OSError as error:
            raise file_error(error, f"{str(self.owner)!r} cannot be made") from error

    def make_state(self) -> None:
        """Make the state directory alone, for no root; raises as ``make_directory``."""
        default = Path(DEFAULT_STATE)
        for each in reversed(self.state.parents):
            if default in (each, *each.parents):  # what is above a default one is as private, whichever comes first
                make_directory(each, STATE)
        make_directory(self.state, STATE)

    def _check_owner(self) -> None:
        try:
            owner = os.readlink(self.owner)
        except FileNotFoundError:
            return
        except OSError as error:
            raise file_error(error, f"{str(self.owner)!r} cannot be read") from error
        if owner != os.path.realpath(self.root):
            raise FailedPrecondition(
                f"state directory {str(self.state)!r} belongs to another root, {owner!r}",
                hint="use another --state, or none; if that root is gone and nothing runs, remove this state directory",
            )


def default_state(root: Path) -> Path:
    """Return the state directory of a root for which none was given."""
    real = os.path.realpath(root)
    if real == os.path.realpath(DEFAULT_ROOT):
        return Path(DEFAULT_STATE)
    import hashlib  # here, because it loads OpenSSL

    digest = hashlib.sha256(real.encode()).hexdigest()[:_DIGITS]
    return _by_root() / digest


def _by_root() -> Path:
    return Path(DEFAULT_STATE) / "by-root"


def absolute(directory: str | os.PathLike[str], what: str = ROOT) -> Path:
    """Return a directory as an absolute path; ``InvalidArgument`` for what is none."""
    try:
        text = os.fsdecode(directory)
        # The path travels through containerd's API, whose strings are UTF-8.
        text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{what} {directory!r} is not a path in UTF-8") from error
    if not text or "\0" in text:  # before abspath: that of Python 3.11.0 to 3.11.3 cuts a path at a NUL
        raise InvalidArgument(f"{what} {directory!r} is not a path")
    return Path(os.path.abspath(text))
