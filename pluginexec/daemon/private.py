"""The private containerd of a root: started by the first command that needs one, and left to the next.

Where something listens on the chosen address, that is used, and nothing is started. An address that was given is never
replaced by another: if nothing listens there, that is an error. Only instead of the machine's default the containerd
under ``STATE/containerd`` is started, which runs until ``pluginexec daemon stop``: of two commands that want to start
it the one that has the lock does, and the other waits for the socket.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator

from pluginexec.containerd.remote import ADDRESS_VARIABLE, DEFAULT_TIMEOUT, Remote
from pluginexec.daemon.containerd import Containerd
from pluginexec.daemon.files import DaemonFiles, Taken
from pluginexec.daemon.lost_shims import sweep_lost_shims
from pluginexec.daemon.supervisor import STARTUP_TIMEOUT
from pluginexec.errors import InvalidArgument, Unavailable
from pluginexec.root.layout import Layout

log = logging.getLogger(__name__)

_POLL = 0.02


def choose(address: str | None, timeout: float = DEFAULT_TIMEOUT) -> Remote:
    """Return the containerd that was asked for; ``None`` asks for ``$CONTAINERD_ADDRESS``, else the machine's."""
    return Remote(timeout=timeout) if address is None else Remote(address, timeout=timeout)


def is_given(address: str | None) -> bool:
    """Return whether somebody asked for one containerd, as ``address`` or in the environment."""
    return address is not None or bool(os.environ.get(ADDRESS_VARIABLE))


def not_listening(address: str | None) -> Unavailable:
    """Return the error for an address that was given, and where nothing listens."""
    source = f" (${ADDRESS_VARIABLE})" if address is None else ""
    return Unavailable(
        f"no containerd listens at {choose(address).address!r}{source}",
        hint="start it, or name another; if no address is given, a private containerd is started where it is needed",
    )


def may_be_private(address: str | None, layout: Layout) -> bool:
    """Return whether the private containerd may be used where nothing listens on the chosen address.

    It may be for the default address, and if it is itself what was asked for.
    """
    return not is_given(address) or is_private(choose(address).address, layout)


def private_files(layout: Layout) -> DaemonFiles:
    """Return the files of a root's private containerd; ``InvalidArgument`` if the path of its socket is too long."""
    return DaemonFiles(layout.containerd, layout.containerd_state)


def private_containerd(layout: Layout, *, leave_tasks: bool = True, timeout: float = DEFAULT_TIMEOUT) -> Containerd:
    """Return a root's private containerd, not started; raises as ``private_files``."""
    return Containerd(layout.containerd, state=layout.containerd_state, leave_tasks=leave_tasks, timeout=timeout)


def private_address(layout: Layout) -> str:
    """Return where a root's private containerd listens; raises as ``private_files``."""
    return private_files(layout).address


def is_private(address: str, layout: Layout) -> bool:
    """Return whether an address is that of a root's private containerd; with a long path there is none."""
    try:
        return address == private_address(layout)
    except InvalidArgument:
        return False


def find_listening(address: str | None, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> Remote | None:
    """Return the containerd that ``ensure_running`` would use if it runs already; nothing is started."""
    candidates = [choose(address, timeout)]
    if may_be_private(address, layout):
        with contextlib.suppress(InvalidArgument):  # its path is too long for a socket
            candidates.append(Remote(private_address(layout), timeout=timeout))
    return next((each for each in candidates if each.listens()), None)


def ensure_running(address: str | None, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> Remote:
    """Return a containerd that listens: the chosen one; instead of the default, the private one, started where need be.

    What is started is left running. Raises what ``Containerd`` and its ``start`` do, and ``Unavailable`` if nothing
    listens on an address that was given, or if another process has the private one in its hands and it does not come up
    in time.
    """
    chosen = choose(address, timeout)
    if chosen.listens():
        return chosen
    if not may_be_private(address, layout):
        raise not_listening(address)
    return ensure_private(layout, chosen.address, timeout)


def ensure_private(layout: Layout, instead_of: str = "", timeout: float = DEFAULT_TIMEOUT) -> Remote:
    """As ``ensure``, for the private one alone; ``instead_of`` is the address where nothing listens, to be told."""
    containerd = private_containerd(layout, timeout=timeout)
    deadline = time.monotonic() + STARTUP_TIMEOUT
    while not containerd.remote.listens():
        layout.make()
        if _start(containerd, layout, instead_of):
            containerd.leave()
            break
        # Whoever has the lock is starting it, or watches it and will start it again; if that fails, it is our turn.
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the private containerd at {containerd.address!r} did not come up within {STARTUP_TIMEOUT:g} s, "
                "and another process has it in its hands",
                hint=f"see {containerd.log_path}",
            )
        time.sleep(_POLL)
    return containerd.remote


@contextlib.contextmanager
def supervised(
    address: str | None, layout: Layout, patience: float = 0.0, timeout: float = DEFAULT_TIMEOUT
) -> Iterator[Remote]:
    """As ``ensure``; a private one is started again when it dies, for as long as this is entered, and then left.

    Only one process can watch it: where another one does, and still does after ``patience`` seconds, this one merely
    uses it.
    """
    chosen = choose(address, timeout)
    if chosen.listens() and not is_private(chosen.address, layout):
        yield chosen
        return
    if not may_be_private(address, layout):
        raise not_listening(address)
    containerd = private_containerd(layout, timeout=timeout)
    deadline = time.monotonic() + patience
    layout.make()
    while not (ours := _start(containerd, layout, chosen.address)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    if not ours:
        yield ensure_private(layout, chosen.address, timeout)
        return
    try:
        yield containerd.remote
    finally:
        containerd.leave()


def _start(containerd: Containerd, layout: Layout, instead_of: str) -> bool:
    """Start or adopt it, and end what the last one has lost; return whether the lock is ours."""
    listened = containerd.remote.listens()
    try:
        containerd.start()
    except Taken:
        return False
    if not listened:
        other = instead_of not in ("", containerd.address)
        what = f"no containerd at {instead_of}; a private one" if other else "a private containerd"
        log.warning("%s runs at %s (log: %s)", what, containerd.address, containerd.log_path)
        sweep_lost_shims(containerd.remote, layout, is_private=True)
    return True
