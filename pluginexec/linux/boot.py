"""The boot of this machine: which one it is, and when it was."""

from __future__ import annotations

import functools
from datetime import datetime, timezone
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def boot_id() -> str:
    """Return what the kernel calls this boot; empty if that cannot be read.

    A pid, even with the time since the boot at which its process started, can come again after a reboot.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def booted_at() -> datetime:
    """Return when this machine was booted, by its clock."""
    return datetime.fromtimestamp(psutil.boot_time(), timezone.utc)
