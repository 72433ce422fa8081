"""What differs between the containerds that were tried, which room copes with it, and a warning for all others.

This is the one table; the rooms say beside the code what they do about it. A difference follows the ``ctr`` command or
the daemon, and the two need not be of one version.

=============================  =========================  ==========================  ===================  =============
what                           1.6                        1.7                         2.1                  room
=============================  =========================  ==========================  ===================  =============
``exited_at`` of an event      RFC 3339                   seconds and nanos           as 1.7               eventlines
namespace of                   the caller's               the target's                as 1.7               events
``/namespaces/update``
``/tasks/delete`` events       come                       come                        some are lost        events
error texts end with           ``: unknown`` and others   as 1.6                      mostly nothing       complaints
a logger that cannot start     several lines of error     as 1.6                      one line             complaints
a socket that is not there     tried until the time-out   as 1.6                      an error at once     ctr,
                                                                                                           complaints
deprecation warnings           none                       on each command's stderr    as 1.7               ctr
flags behind an id             flags                      flags                       taken for ids        client
``h`` and ``help`` as an id    taken                      taken                       a call for help      checks
or a namespace
``%``, ``?``, ``#`` in the     kept                       decoded, cut off            as 1.7, but must     daemonfiles,
socket's path                                                                         exist undecoded      daemon
names of built-in plugins      1.x                        1.x                         2.x                  daemonfiles
stopped tasks, as the daemon   kept, with their codes     deleted, the codes lost     as 1.7               logger,
starts                                                                                                     pidfds,
                                                                                                           endings
a logger that is dead, at the  its old pid is signalled   nothing                     nothing              logger
deletion
a shim without a task, as the  stays                      ended                       as 1.7               leakedshim,
daemon starts                                                                                              lifecycle
power readings in ``/sys``     open                       masked                      masked               spec
=============================  =========================  ==========================  ===================  =============
"""

from __future__ import annotations

import logging
import re
import threading

log = logging.getLogger(__name__)

TRIED = ("1.6", "1.7", "2.1")
"""The series on which all the tests pass."""

_SERIES = re.compile(r"v?([0-9]{1,4}\.[0-9]{1,4})\b", re.ASCII)
_SHOWN = 100
_lock = threading.Lock()
_warned: set[str] = set()


def series(version: str) -> str | None:
    """Return the series of a version: ``2.1`` of ``v2.1.9+unknown``; ``None`` of what is no version."""
    found = _SERIES.match(version)
    return found[1] if found else None


def warn_if_untried(program: str, version: str) -> None:
    """Log a warning, once in this process, if a version is of no series that was tried."""
    if series(version) in TRIED:
        return
    with _lock:
        if version in _warned:
            return
        _warned.add(version)
    shown = version if series(version) else repr(version)
    log.warning(
        "%s %s was never tried with pluginexec; series %s were: use one of those, or run pluginexec's tests on it",
        program,
        shown[:_SHOWN],
        ", ".join(TRIED),
    )
