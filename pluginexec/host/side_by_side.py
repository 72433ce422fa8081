"""The same work on several plugins, side by side: those that take long do not add up."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence

THREADS_AT_MOST = 50
"""Docker's command line works on as many at once; most of the time they wait for a plugin to end."""


def side_by_side(work: Callable[[str], object], ids: Sequence[str]) -> Generator[Exception | None, None, None]:
    """Call ``work`` with each id, on threads, and yield what each call raised, ``None`` for nothing.

    The order is that of the ids; each outcome is yielded as soon as it and all before it are known. With the last one
    all threads have ended. If the iterator is closed before, or Ctrl-C interrupts it, what was not begun is not done,
    and what was begun is not waited for. A single id is worked on by the caller's own thread.
    """
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    outcomes: dict[int, Exception | None] = {}
    changed = threading.Condition()
    for index in range(len(ids)):
        pending.put(index)

    def run() -> None:
        for index in _taken(pending):
            outcome = None
            try:
                work(ids[index])
            except Exception as error:
                outcome = error
            with changed:
                outcomes[index] = outcome
                changed.notify_all()

    threads = _started(run, len(ids)) if len(ids) > 1 else []
    if not threads:
        run()
    try:
        for index in range(len(ids)):
            with changed:
                changed.wait_for(lambda: index in outcomes)  # noqa: B023 # called before the next turn of the loop
            yield outcomes[index]
        for thread in threads:
            thread.join()
    finally:
        for _ in _taken(pending):
            pass


def _taken(pending: queue.SimpleQueue[int]) -> Iterator[int]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield pending.get_nowait()


def _started(run: Callable[[], None], count: int) -> list[threading.Thread]:
    """Start as many threads as there is work for; fewer, or none, if the machine is out of them."""
    threads: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):
        for number in range(min(count, THREADS_AT_MOST)):
            thread = threading.Thread(target=run, name=f"pluginexec-side-by-side-{number}", daemon=True)
            thread.start()
            threads.append(thread)
    return threads
