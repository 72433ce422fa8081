"""What a command shares with its plugin. Real: signals, threads and the pipe between them."""

from __future__ import annotations

import os
import queue
import signal

import pytest

from pluginexec.cli.foreground import FORWARDED, Signals
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


@pytest.mark.parametrize("number", FORWARDED)
def test_every_signal_that_docker_forwards_is_forwarded(number: int) -> None:
    sent: queue.Queue[int] = queue.Queue()
    with Signals() as signals, signals.forwarded(sent.put) as started:
        started()
        os.kill(os.getpid(), number)
        assert sent.get(timeout=PATIENCE) == number


def test_of_all_signals_only_those_of_this_process_alone_are_kept() -> None:
    kept = signal.valid_signals() - set(FORWARDED)
    names = "KILL STOP CHLD PIPE URG TSTP TTIN TTOU SEGV BUS FPE ILL"
    assert kept == {signal.Signals[f"SIG{name}"] for name in names.split()}


@pytest.mark.parametrize("number", [signal.SIGWINCH, signal.SIGCONT])
def test_a_signal_that_ends_no_process_ends_no_command(number: int) -> None:
    with Signals():
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1, signal.SIGRTMIN + 1])
def test_before_the_plugin_is_started_a_signal_ends_the_command(number: int) -> None:
    with pytest.raises(SystemExit) as end, Signals():
        os.kill(os.getpid(), number)
    assert end.value.code == 128 + number
