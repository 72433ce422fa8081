"""What a command shares with its plugin. Real: signals, threads and the pipe between them."""

from __future__ import annotations

import os
import queue
import signal

from pluginexec.cli.foreground import Signals
from tests.support.harness import PATIENCE


def test_a_signal_that_does_not_wake_the_main_thread_is_forwarded() -> None:
    sent: queue.Queue[int] = queue.Queue()
    with Signals() as signals, signals.forwarded(sent.put) as started:
        started()
        # The kernel hands it to another thread, as one that comes just before this thread waits would go unseen.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            assert sent.get(timeout=PATIENCE) == signal.SIGTERM
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_signals_before_the_start_are_kept_in_order() -> None:
    sent: queue.Queue[int] = queue.Queue()
    with Signals() as signals, signals.forwarded(sent.put) as started:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert sent.empty()
        started()
        assert [sent.get(timeout=PATIENCE) for _ in range(2)] == [signal.SIGTERM, signal.SIGINT]
