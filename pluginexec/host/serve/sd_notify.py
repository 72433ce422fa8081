"""Report to systemd: the datagrams of ``sd_notify``, for units of ``Type=notify`` and ``notify-reload``."""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)

VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Sends to the socket that systemd named in the environment; without one, it does nothing."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def from_environment(cls) -> Notifier:
        """Take the socket out of the environment: no child process may speak for this one."""
        return cls(os.environ.pop(VARIABLE, None))

    def ready(self, status: str) -> None:
        """Report readiness, for the first time or after a reload."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Report what ``systemctl status`` is to show."""
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """Report that a reload has begun; ``ready`` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Report that this process is about to end."""
        self._send("STOPPING=1", f"STATUS={status}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # "@" stands for the abstract name space.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:  # we go on without
            log.warning("systemd cannot be told at %r: %s", self._address, error)
