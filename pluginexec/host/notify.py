"""Telling ``pluginexec serve`` that a record has changed."""

from __future__ import annotations

import socket

from pluginexec.root.layout import Layout


def notify_serve(layout: Layout) -> bool:
    """Ask the ``serve`` of a root to read the records again; return whether it runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(b"look", str(layout.serve_socket))
        except BlockingIOError:  # so many were sent before that it will look anyway
            return True
        except OSError:
            return False
    return True
