"""Wait until a descriptor is readable."""

from __future__ import annotations

import select


def wait_readable(timeout: float | None, *descriptors: int) -> list[int]:
    """Return the descriptors that are readable, as soon as one is; none after ``timeout`` seconds, ``None``: never.

    One whose other end is closed, and a pidfd whose process has ended, count as readable.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [ready for ready, _ in poll.poll(None if timeout is None else max(0.0, timeout) * 1000)]
