"""One plugin in the hands of ``pluginexec serve``: taken over, watched, and started again as its policy says.

All of it happens on one thread, one step after the other: so each life has one start and one end in its state, and an
end that is told twice is dealt with once. The plugin's lock is held while it runs or is worked on, and never in a
pause: a command that starts or removes it meanwhile does not wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum
from signal import SIGKILL

from pluginexec.containerd.remote import Remote
from pluginexec.errors import DeadlineExceeded, NotFound, PluginExecError, Unavailable
from pluginexec.executor.executor import Executor
from pluginexec.executor.signals import kill_notice
from pluginexec.host.host import Host, exit_status
from pluginexec.host.logs.drivers import detached_sinks
from pluginexec.host.records import SHORT_LOCK_TIMEOUT, Record, State
from pluginexec.host.serve.executors import Executors
from pluginexec.host.signals import resume
from pluginexec.restart_policy import STEADY_AFTER, parse_policy, pause_before
from pluginexec.validation import parse_signal

log = logging.getLogger(__name__)

KILL_TIMEOUT = 30.0
"""Seconds after SIGKILL in which its end must have been dealt with; what blocks holds an end up for 27 s."""
_AWAY_PAUSE = 5.0
"""Seconds, at most, before it is tried again where containerd is away."""


class Request(IntEnum):
    """What a supervisor is to do; a later one is never taken back."""

    KEEP = 0
    DETACH = 1
    """Let it run, once the executors are closed."""
    STOP = 2
    """Its stop signal, patience, SIGKILL."""
    KILL = 3


def is_wanted(host: Host, record: Record, state: State, *, at_start: bool) -> bool:
    """Return whether a plugin that does not run is to be started; ``at_start``: of serve, as docker does at its own."""
    policy = parse_policy(record.restart)
    if host.records.stopped(record.id) and not (at_start and policy.name == "always"):
        return False
    if state.status == "created" and not (at_start and state.started_at):
        return False  # it was never started, or a person tried to
    return policy.wants_restart(state.exit_code, state.restart_count)


class PluginSupervisor:
    """The thread that keeps one plugin, until that has ended for good, or is in other hands.

    - ``at_start``: whether serve itself has just begun;
    - ``changed``: called, on the thread, after each change of ``doing``, and last of all.
    """

    def __init__(
        self, host: Host, id: str, executors: Executors, changed: Callable[[], None], *, at_start: bool, patience: float
    ) -> None:
        self.id = id
        self.doing = ""
        """``running``, ``restarting``, or nothing of the kind."""
        self.has_looked = threading.Event()
        """Set once it is known what became of the plugin, or that this cannot be known now."""
        self._host = host
        self._executors = executors
        self._changed = changed
        self._at_start = at_start
        self._patience = patience
        self._may_start = at_start
        self._in_a_row = 0
        self._request = Request.KEEP
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pluginexec-{id}-supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Make it reconcile the plugin: something may have happened."""
        self._wake.set()

    def tell(self, request: Request) -> None:
        """Send it a request; a weaker one than the last is ignored."""
        self._request = max(self._request, request)
        self._wake.set()

    @property
    def is_over(self) -> bool:
        """Whether its thread has finished."""
        return self._over.is_set()

    def join(self) -> bool:
        """Wait for its end; return whether it was woken too late to look."""
        self._thread.join()
        return self._wake.is_set()

    def _run(self) -> None:
        try:
            self._keep()
        except NotFound as error:
            log.debug("%s: removed: %s", self.id, error)
        except Exception:
            log.exception("%s: its supervisor failed; it is not supervised until the root is rescanned", self.id)
        self._over.set()
        self._say("")

    def _keep(self) -> None:
        failures, said = 0, ""
        while self._request is Request.KEEP:
            try:
                pause = self._live()
            except PluginExecError as error:
                if not self._host.records.directory(self.id).exists():
                    return  # removed
                if str(error) != said:
                    log.warning("%s: %s; trying again", self.id, error)
                said = str(error)
                self._say("waiting")
                self._wait_before_restart(min(_AWAY_PAUSE, pause_before(failures)), is_moot=lambda: False)
                failures += 1
                continue
            failures, said = 0, ""
            if pause is None:
                return
            self._say("restarting")
            self._may_start = self._wait_before_restart(pause, is_moot=self._is_moot)
        self._leave_off()

    def _live(self) -> float | None:
        """Keep it for one life, if it has one; return the pause before the next, ``None`` if there is to be none."""
        with ExitStack() as held:
            if not self._has_lock(held):
                log.debug("%s: left to the command that works on it", self.id)
                return None
            record = self._host.records.record(self.id)
            executor = self._executors.of(record)
            with self._executors.turns:
                state = self._found(executor, record)
                is_new = self._may_start and state.status != "running" and self._is_wanted(record, state)
                if is_new:
                    state = self._started(executor, record, state)
            self._may_start = self._at_start = False
            if state.status == "running":
                self._say("running")
                if is_new and self._host.records.stopped(self.id):  # by a person, who found nothing to stop
                    self._stop(executor, record)
                state = self._watched(executor, record, state)
            return self._pause_after(record, state)

    def _has_lock(self, held: ExitStack) -> bool:
        try:
            held.enter_context(self._host.records.lock(self.id, SHORT_LOCK_TIMEOUT))
        except DeadlineExceeded:
            return False
        return True

    def _found(self, executor: Executor, record: Record) -> State:
        """Return its state after finding out what became of it; one that runs is in our hands then."""
        state = self._host.records.state(self.id)
        if state.status != "running" and not self._host.files(self.id).exist():
            return state
        _check_containerd(record)
        state = self._host.restore(executor, record)
        if state.status == "running":
            log.info("%s: taken over (pid %d)", self.id, state.pid)
        else:
            log.info("%s: had ended: %s", self.id, _told(state))
        return state

    def _is_wanted(self, record: Record, state: State) -> bool:
        return self._request is Request.KEEP and is_wanted(self._host, record, state, at_start=self._at_start)

    def _started(self, executor: Executor, record: Record, state: State) -> State:
        """Start it; return its state, which is that of one that has failed where this does not go."""
        records = self._host.records
        count = state.restart_count
        if self._at_start:
            records.clear_stopped(self.id)
        else:
            count += 1
        try:
            _check_containerd(record)
            sinks = detached_sinks(record, records.directory(self.id))
            self._host.launch(executor, record, *sinks, restart_count=count)
        except PluginExecError as error:
            if isinstance(error, (Unavailable, DeadlineExceeded)) or self._request is not Request.KEEP:
                # Not the plugin's fault: it does not count.
                records.change_state(self.id, status="restarting", restart_count=state.restart_count)
                raise
            log.warning("%s", error)
            return records.change_state(self.id, status="exited")
        state = records.state(self.id)
        log.info("%s: started (pid %d)", self.id, state.pid)
        return state

    def _watched(self, executor: Executor, record: Record, state: State) -> State:
        """Watch it until it ends; return its state then, or as it was if it runs on."""
        began = time.monotonic()
        ended = self._ends(executor, Request.KEEP)
        if self._request is Request.DETACH:
            # The lock is ours until the executor has let go. It may have dealt with its end in the last moment.
            self._executors.closed.wait()
            ended = exit_status(executor, self.id) is not None
        if not ended and (self._request is Request.DETACH or not self._stop(executor, record)):
            return state
        if time.monotonic() - began >= STEADY_AFTER:
            self._in_a_row = 0
        state = self._host.record_exit(record, exit_status(executor, self.id))
        log.info("%s: ended: %s", self.id, _told(state))
        return state

    def _ends(self, executor: Executor, request: Request, timeout: float | None = None) -> bool:
        """Wait until its end was dealt with; ``False`` if another request comes first, or the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                executor.pid(self.id)
            except NotFound:
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if self._request is not request or (left is not None and left <= 0):
                return False
            self._wake.wait(left)
            self._wake.clear()

    def _stop(self, executor: Executor, record: Record) -> bool:
        """Stop it, with patience unless it is to be killed; return whether it has ended."""
        request = self._request
        if request is not Request.KILL:
            number = parse_signal(record.stop_signal)
            self._send(executor, record, number)
            if self._ends(executor, request, self._patience):
                return True
            if self._request is request and self._patience:
                log.warning("%s: %s", self.id, kill_notice(number, self._patience))
        self._send(executor, record, SIGKILL)
        if self._ends(executor, self._request, KILL_TIMEOUT):
            return True
        log.error("%s: it has not ended %g s after SIGKILL", self.id, KILL_TIMEOUT)
        return False

    def _send(self, executor: Executor, record: Record, number: int) -> None:
        """Send a signal that is to end it, also where it is paused or containerd is away."""
        with self._host.held(self.id) as init:
            try:
                executor.signal(self.id, number)
            except PluginExecError as error:
                log.debug("%s; the signal goes to the process itself", error)
                if init:
                    init.send(number)
            if init:
                resume(self._host.records, record, init, self._host.timeout)

    def _pause_after(self, record: Record, state: State) -> float | None:
        """Decide on one that does not run: write down whether it is started again, and return after which pause."""
        if state.status == "running" or record.auto_remove:
            return None
        if not self._is_wanted(record, state):
            self._host.give_up(self.id)
            policy = parse_policy(record.restart)
            if self._request is Request.KEEP and state.exit_code != 0 and policy.gives_up(state.restart_count):
                why = f"gave up after {state.restart_count} restarts: {state.error or _told(state)}"
                self._host.records.change_state(self.id, error=why)
                log.warning("%s: %s", self.id, why)
            return None
        pause = pause_before(self._in_a_row)
        self._in_a_row += 1
        self._host.records.change_state(self.id, status="restarting")
        log.info("%s: starting it again in %g s (restart %d)", self.id, pause, state.restart_count + 1)
        return pause

    def _is_moot(self) -> bool:
        """Return whether the wait is pointless: a person has stopped it, or started it."""
        # Not whether it is alive: what a person started may have ended before we looked, and needs a pause of its own.
        return self._host.records.stopped(self.id) or self._host.records.state(self.id).status != "restarting"

    def _wait_before_restart(self, seconds: float, is_moot: Callable[[], bool]) -> bool:
        """Wait; return whether that was for the whole time."""
        deadline = time.monotonic() + seconds
        while self._request is Request.KEEP and not is_moot():
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            self._wake.wait(left)
            self._wake.clear()
        return False

    def _leave_off(self) -> None:
        """Record that no restart is pending."""
        with ExitStack() as held:
            if self._has_lock(held):
                self._host.give_up(self.id)

    def _say(self, doing: str) -> None:
        self.doing = doing
        self.has_looked.set()
        self._changed()


def _check_containerd(record: Record) -> None:
    """Raise ``Unavailable`` where nothing listens, which ``ctr`` finds out in seconds and with a process."""
    if not Remote(record.address).listens():
        raise Unavailable(f"nothing listens at {record.address}")


def _told(state: State) -> str:
    code = "exit code not known" if state.exit_code is None else f"exit code {state.exit_code}"
    return f"{code}, out of memory" if state.oom_killed else code
