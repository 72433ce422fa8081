"""A shim whose task containerd has forgotten, or never learnt of: it blocks the id, and stays for ever.

containerd leaves it where it is killed between a shim's start and its first task, or between the task's deletion and
the shim's end; 1.7 and later end such shims when they start again, 1.6 does not.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from pluginexec.cleanup.bundles import is_bundle, remove_bundle
from pluginexec.linux.cgroups import CgroupPath, cgroup_of, cgroups_path_of, remove_cgroups
from pluginexec.linux.identity import is_ours, program_name
from pluginexec.linux.pidfd import InitProcess, start_seconds

log = logging.getLogger(__name__)

_CLEANED_WITHIN = 5.0
_FORGOTTEN_AFTER = 0.5
"""Seconds in which containerd takes the task off its list, once the bundle is gone; it does not report when."""
_ENDS_WITHIN = 5.0
"""Seconds in which a shim whose task was deleted ends, on a busy machine."""
_PAUSE = 0.02


def end_shim(id: str, namespace: str, address: str, *, started_before: float | None = None) -> bool:
    """SIGKILL the shim of an id, and wait until containerd has cleaned up behind it; return whether there was one.

    Only for an id that nothing lives of: what runs below the shim dies with it. ``started_before``, a time of
    ``boot_seconds``: only a shim that is older, and only if it does not end by itself, because its task was deleted.
    """
    shims = list(find_shims(address, namespace, id))
    if started_before is not None:
        shims = [shim for shim in shims if (start_seconds(shim.pid) or math.inf) < started_before and _stays(shim)]
    cgroups = [cgroup for shim in shims for cgroup in cgroups_below(shim)]
    bundles = [bundle for shim in shims if (bundle := _kill(shim))]
    deadline = time.monotonic() + _CLEANED_WITHIN
    while any(_can_be_cleaned_up(bundle) for bundle in bundles) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    for bundle in bundles:
        if is_bundle(bundle, namespace, id) and bundle.exists():
            remove_bundle(bundle)
    for cgroup in cgroups:  # a runtime that was killed as it created the container has no state of it to clean up by
        remove_cgroups(cgroup)
    if bundles:
        time.sleep(_FORGOTTEN_AFTER)
    return bool(bundles)


def cgroups_below(shim: psutil.Process) -> list[CgroupPath]:
    """Return where a shim's container is, or would be, among the cgroups: by its spec, and by what runs below it."""
    try:
        bundle = Path(shim.cwd())
        children = shim.children(recursive=True)
    except psutil.Error:  # it has ended
        return []
    try:
        spec = json.loads((bundle / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        spec = {}
    own = cgroup_of(shim.pid, {})
    below = [cgroup_of(child.pid, {}) for child in children if not _is_logger(child, bundle)]
    return [cgroups_path_of(spec if isinstance(spec, dict) else {}), *(each for each in below if each != own)]


def _can_be_cleaned_up(bundle: Path) -> bool:
    # Of these containerd reads which runtime it is for; where it was killed before it wrote them it gives up.
    return any((bundle / name).exists() for name in ("runtime", "shim-binary-path"))


def _stays(shim: psutil.Process) -> bool:
    """Return whether a shim whose task was deleted does not end by itself."""
    held = InitProcess.open(shim.pid)  # to a pidfd one that nothing reaps has ended, too
    if held is None:
        return False
    try:
        deadline = time.monotonic() + _ENDS_WITHIN
        while not held.has_ended() and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return not held.has_ended()
    finally:
        held.close()


def _kill(shim: psutil.Process) -> Path | None:
    """SIGKILL a shim and what is below it but for its loggers, which copy what there is to the end; return its bundle.

    What runs below goes first: a runtime, or its hook, would go on without the shim. While that is stopped it stays the
    parent of all that loses its own.
    """
    try:
        bundle = Path(shim.cwd())
        shim.suspend()
        deadline = time.monotonic() + _ENDS_WITHIN
        while (live := _live_below(shim, bundle)) and time.monotonic() < deadline:
            for process in live:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(_PAUSE)
        shim.kill()
    except psutil.Error:  # it has ended
        return None
    log.warning("a shim without a task was left of %s (pid %d), and is killed", bundle.name, shim.pid)
    return bundle


def _live_below(shim: psutil.Process, bundle: Path) -> list[psutil.Process]:
    return [process for process in shim.children(recursive=True) if _lives(process) and not _is_logger(process, bundle)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_logger(process: psutil.Process, bundle: Path) -> bool:
    try:
        return process.cwd() == str(bundle) and "CONTAINER_ID" in process.environ()
    except psutil.Error:
        return False


def find_shims(address: str, namespace: str | None = None, id: str | None = None) -> Iterator[psutil.Process]:
    """Find the shims of the containerd at this address, all or those of one namespace and id.

    Only those of this user and pid namespace: any user's process can have the arguments of one.
    """
    wanted = {("-address", address), ("-namespace", namespace), ("-id", id)}
    flags = {(name, value) for name, value in wanted if value is not None}
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        # A runtime may have any name with this word in it, and its arguments can be in any order.
        if flags <= set(itertools.pairwise(line)) and is_ours(process.pid) and "shim" in program_name(process.pid):
            yield process
