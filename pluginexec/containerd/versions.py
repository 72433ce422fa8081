"""What differs between the containerds that were tested, which module deals with it, and a warning for all others.

This is the one table; the modules say beside the code what they do about it. A difference follows the ``ctr`` command
or the daemon, and the two need not be of one version.

===========================  =====================  ===================  ====================  =========================
what                         1.6                    1.7                  2.1                   module
===========================  =====================  ===================  ====================  =========================
``exited_at`` of an event    RFC 3339               seconds and nanos    as 1.7                containerd.event_parser
namespace of                 the caller's           the target's         as 1.7                containerd.events
``/namespaces/update``
``/tasks/delete`` events     come                   come                 some are lost         containerd.events
error texts end with         ``: unknown`` etc.     as 1.6               mostly nothing        containerd.error_messages
a logger that cannot start   several lines of       as 1.6               one line              containerd.error_messages
                             error
a missing socket             retried until the      as 1.6               an error at once      containerd.ctr
                             timeout                                                           containerd.error_messages
deprecation warnings         none                   on each command's    as 1.7                containerd.ctr
                                                    stderr
flags behind an id           flags                  flags                taken for ids         containerd.client
``h`` and ``help`` as an id  accepted               accepted             a call for help       validation
or a namespace
``%``, ``?``, ``#`` in the   kept                   decoded, cut off     as 1.7, but must      daemon.files
socket's path                                                            exist undecoded       daemon.containerd
names of built-in plugins    1.x                    1.x                  2.x                   daemon.files
stopped tasks, when the      kept, with their       deleted, codes lost  as 1.7                streams.shell_logger
daemon starts                codes                                                             linux.pidfd
                                                                                               executor.exits
a dead logger, when its      its old pid is         nothing              nothing               streams.shell_logger
task is deleted              signalled
a shim without a task, when  stays                  is ended, its        as 1.7                cleanup.shims
the daemon starts                                   cgroups stay                               cleanup.unfinished
                                                                                               executor.lifecycle
power readings in ``/sys``   open                   masked               masked                oci.default_spec
names that ``images``        whole                  whole                cut off, unless       containerd.image_client
``import`` prints                                                        ``--local``
===========================  =====================  ===================  ====================  =========================
"""

from __future__ import annotations

import logging
import re
import threading

log = logging.getLogger(__name__)

TESTED = ("1.6", "1.7", "2.1")
"""The series on which all the tests pass."""

_SERIES = re.compile(r"v?([0-9]{1,4}\.[0-9]{1,4})\b", re.ASCII)
_SHOWN = 100
_lock = threading.Lock()
_warned: set[str] = set()


def series(version: str) -> str | None:
    """Return the series of a version: ``2.1`` of ``v2.1.9+unknown``; ``None`` of what is no version."""
    found = _SERIES.match(version)
    return found[1] if found else None


def warn_if_untested(program: str, version: str) -> None:
    """Log a warning, once in this process, if a version is of no tested series."""
    if series(version) in TESTED:
        return
    with _lock:
        if version in _warned:
            return
        _warned.add(version)
    shown = version if series(version) else repr(version)
    log.warning(
        "%s %s has not been tested with pluginexec (tested: %s); use one of those, or run pluginexec's tests on it",
        program,
        shown[:_SHOWN],
        ", ".join(TESTED),
    )
