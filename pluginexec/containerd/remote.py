"""Where containerd listens, which binaries to use, and how long to wait."""

from __future__ import annotations

import os
import socket
import typing
from dataclasses import dataclass, field

from pluginexec.containerd.client import Client
from pluginexec.containerd.ctr import Ctr, Runner, Subprocesses
from pluginexec.errors import InvalidArgument, Unavailable, shown
from pluginexec.validation import check_namespace

if typing.TYPE_CHECKING:
    from pluginexec.containerd.image_client import ImageClient

DEFAULT_ADDRESS = "/run/containerd/containerd.sock"
ADDRESS_VARIABLE = "CONTAINERD_ADDRESS"
"""The environment variable for another one; ``ctr`` reads it too."""
DEFAULT_TIMEOUT = 30.0
"""Seconds that one command may take, unless it is told otherwise."""
LONGEST_TIMEOUT = 1e6
"""Seconds; poll(2) takes 24 days of milliseconds, and more is an OverflowError in each command."""


def _address_from_environment() -> str:
    # An empty one counts as unset, as in ctr.
    return os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS


def _absolute(address: str) -> str:
    # ctr 2.x takes a relative path for a URL.
    try:
        return address if os.path.isabs(address) else os.path.abspath(address)
    except OSError as error:
        raise InvalidArgument(f"address {address!r} is relative to a directory that is gone") from error


@dataclass(frozen=True)
class Remote:
    """A containerd, and the commands that talk to it.

    - ``address``: the path of its socket, which is made absolute; by default ``$CONTAINERD_ADDRESS``, else
      ``/run/containerd/containerd.sock``;
    - ``ctr``: the ``ctr`` to run, a name on the ``PATH`` or a path;
    - ``runtime``: the OCI runtime, a name (``runc``, ``crun``) or a path; ``None`` leaves the choice to containerd,
      whose own default is ``runc``;
    - ``timeout``: seconds that one command may take. Deletions are given at least 60, because a deletion cut short
      leaks the shim and blocks the id.

    Nothing is tried here: a containerd that is not there shows at the first operation, as ``Unavailable``.
    Raises ``InvalidArgument`` for an address that is no path and for a timeout that is not positive, or over 11 days.
    """

    address: str = field(default_factory=_address_from_environment)
    ctr: str = "ctr"
    runtime: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    runner: Runner = field(default_factory=Subprocesses, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.address, str) or not self.address or "\0" in self.address:
            raise InvalidArgument(f"address {shown(self.address)} is not the path of a socket")
        if "://" in self.address:
            # ctr takes the whole of "unix:///x" for a path, and then waits for it.
            raise InvalidArgument(f"address {self.address!r} has a scheme; ctr wants the bare path of the socket")
        object.__setattr__(self, "address", _absolute(self.address))
        for name, value in (("ctr", self.ctr), ("runtime", self.runtime or "runc")):
            if not isinstance(value, (str, os.PathLike)):
                raise InvalidArgument(f"{name} {shown(value)} is neither a name nor a path")
        if not isinstance(self.timeout, (int, float)) or not 0 < self.timeout <= LONGEST_TIMEOUT:
            raise InvalidArgument(f"timeout {shown(self.timeout)} is not a number of seconds up to {LONGEST_TIMEOUT:g}")

    def listens(self) -> bool:
        """Return whether something listens on the socket; any other obstacle is reported by the first operation.

        Raises ``Unavailable`` without a descriptor to ask with.
        """
        try:
            probe = socket.socket(socket.AF_UNIX)
        except OSError as error:
            raise Unavailable(f"socket {self.address!r} cannot be tried: {error.strerror}") from error
        with probe:
            probe.setblocking(False)  # where too many wait to be accepted, something listens
            try:
                probe.connect(self.address)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except (OSError, ValueError):
                return True
        return True

    def new_client(self, namespace: str) -> Client:
        """Return a client for one namespace."""
        return Client(self._ctr(namespace), runtime=self.runtime)

    def new_image_client(self, namespace: str) -> ImageClient:
        """Return a client for the images of one namespace."""
        from pluginexec.containerd.image_client import ImageClient

        return ImageClient(self._ctr(namespace))

    def _ctr(self, namespace: str) -> Ctr:
        return Ctr(self.runner, self.ctr, self.address, check_namespace(namespace), self.timeout)
