"""What must be right in an exit status, and a witness of each end that is neither containerd nor the package."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from pluginexec import ExitStatus
from pluginexec.linux.pidfd import InitProcess
from tests.soak.lives import Life

_SLACK = timedelta(seconds=2)
"""How much later than the witness's an exact time may be: this machine is busy."""
_ROUNDING = timedelta(milliseconds=50)


class Witness:
    """A thread that notes when processes end."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._stop, select.EPOLLIN)
        self._held: dict[int, tuple[Life, InitProcess]] = {}
        self._thread = threading.Thread(target=self._run, name="soak-witness")
        self._thread.start()

    def add(self, life: Life, pid: int) -> None:
        """Note when the process of a life ends."""
        if init := InitProcess.open(pid):
            self._held[init.pidfd] = life, init
            self._epoll.register(init.pidfd, select.EPOLLIN | select.EPOLLONESHOT)

    def close(self) -> None:
        """End the thread."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        for _, init in self._held.values():
            init.close()
        self._epoll.close()
        os.close(self._stop)

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._stop:
                    return
                life, init = self._held.pop(descriptor)
                life.seen_at = datetime.now(timezone.utc)
                init.close()


def judge(life: Life, status: ExitStatus) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, each with the name of its count; for what is excused, without a word."""
    if status.exit_code is None:
        yield ("excused_codes", "") if None in life.codes else ("unknown_codes", "its exit code is unknown")
    elif status.exit_code not in life.codes:
        yield "wrong_codes", f"exit code {status.exit_code}, not one of {life.codes}"
    # What ends it before its time may come before the OOM killer, and what nothing watched is seen too late.
    if status.oom_killed != life.plan.is_oom and not (life.plan.is_oom and (life.cut or life.unwatched)):
        yield "wrong_oom", f"oom_killed is {status.oom_killed}"
    yield from _judge_time(life, status)


def _judge_time(life: Life, status: ExitStatus) -> Iterator[tuple[str, str]]:
    earliest = life.begun_at + timedelta(seconds=0 if life.cut else life.plan.runs) - _ROUNDING
    if not earliest <= status.exited_at <= datetime.now(timezone.utc):
        yield "wrong_times", f"exited_at is {status.exited_at}, it ran until {earliest} at least"
    if not status.exited_at_is_upper_bound:
        if life.seen_at and status.exited_at > life.seen_at + _SLACK:
            yield "wrong_times", f"exited_at is {status.exited_at}, but it had ended at {life.seen_at}"
    elif life.has_logger and status.exited_at > life.begun_at + _SLACK:
        yield "wrong_times", "exited_at is an upper bound, though its logger held the process"
    else:
        yield "excused_times", ""
