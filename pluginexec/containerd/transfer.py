"""Commands of ``ctr`` that move an image: they take as long as the network does, and draw their progress all the time.

``ctr`` draws it on stdout whether that is a terminal or not, ten times a second: kept, it would be megabytes.
"""

from __future__ import annotations

import logging
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from typing import TypeAlias

from pluginexec.containerd.ctr import Ctr, close_pipes, kill_group
from pluginexec.containerd.error_messages import error_from_stderr

log = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[bytes], object] | None
"""What gets the drawing, as it comes: lines, and the escape sequences of a terminal between them."""
_CHUNK = 1 << 16
_KEPT = 1 << 16
"""Bytes of stderr that are kept; the cause of a failure stands at its end."""


def transfer(ctr: Ctr, *arguments: str, operation: str, id: str, progress: Progress = None) -> None:
    """Run a command to its end, however long it takes; an interrupt ends it. Raises what its stderr says."""
    begun = time.monotonic()
    process = ctr.start(*arguments, separate_stderr=True)
    try:
        stderr = _relay(process, progress)
        process.wait()
    except BaseException:
        kill_group(process)
        raise
    finally:
        close_pipes(process)
    log.debug("%s: exit status %d in %.0f ms", operation, process.returncode, 1000 * (time.monotonic() - begun))
    if process.returncode:
        raise error_from_stderr(
            stderr, argv=ctr.argv(*arguments), returncode=process.returncode, operation=operation, id=id
        )


def _relay(process: subprocess.Popen[bytes], progress: Progress) -> str:
    """Hand stdout on until both streams end; return the end of stderr."""
    stderr = bytearray()
    with selectors.PollSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            assert pipe
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    stderr += data
                    del stderr[:-_KEPT]
                elif progress:
                    progress(data)
    return stderr.decode(errors="replace")
