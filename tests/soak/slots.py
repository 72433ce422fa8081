"""A slot: one id, its plugins one after the other, and what is known of the exit of each."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

from pluginexec import AlreadyExists, Executor, ExitStatus, NotFound, PluginExecError
from tests.soak.judge import Witness, judge
from tests.soak.lives import Life, new_kinds, new_plan

PATIENCE = 120.0
"""Seconds after which an exit, an output or an id counts as lost."""
_AGAIN = 0.2
_RESTARTED = 0.3
"""How likely the exit handler starts the next life, as a restart policy does."""


@dataclass
class Counts:
    """What the soak ends with."""

    lives: int = 0
    faults: int = 0
    exits_lost: int = 0
    exits_doubled: int = 0
    unknown_codes: int = 0
    wrong_codes: int = 0
    wrong_oom: int = 0
    wrong_times: int = 0
    bytes_lost: int = 0
    leaks: int = 0
    excused_codes: int = 0
    """Codes that are unknown because nothing that could know them was alive."""
    excused_times: int = 0
    """Times that say of themselves that they are upper bounds."""

    def __str__(self) -> str:
        return "\n".join(f"{each.name.replace('_', ' '):15}{getattr(self, each.name):8}" for each in fields(self))

    @property
    def good(self) -> bool:
        """Whether nothing was lost, doubled, wrong or leaked."""
        harmless = ("lives", "faults", "excused_codes", "excused_times")
        return not any(getattr(self, each.name) for each in fields(self) if each.name not in harmless)


@dataclass
class World:
    """What all slots share."""

    executor: Executor
    rootfs: Path
    directory: Path
    report: Callable[[str, Life | None], None]
    witness: Witness
    counts: Counts = field(default_factory=Counts)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, more: int = 1) -> None:
        """Add to one of the counts."""
        with self._lock:
            setattr(self.counts, what, getattr(self.counts, what) + more)


class Slot:
    """One id; its thread starts a plugin, sees to its end, checks what came out, and starts the next."""

    def __init__(self, world: World, id: str, dice: random.Random) -> None:
        self.id = id
        self.life: Life | None = None
        """The last one; it may have ended."""
        self.lock = threading.RLock()
        """Held while the life changes, and while a fault chooses it."""
        self._world = world
        self._dice = dice
        self._number = 0
        self._pids: deque[int] = deque(maxlen=3)
        """Of the last whose exits are known; the kernel gives a pid again after some minutes."""
        self._begun: queue.SimpleQueue[Life] = queue.SimpleQueue()
        self._cleared: threading.Event | None = None
        self._thread = threading.Thread(target=self._run, name=f"soak-{id}")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the last life is over."""
        self._thread.join()

    def _run(self) -> None:
        while not self._world.over.is_set() or not self._begun.empty():
            with self.lock:
                # The exit handler may have begun the next one.
                mine = self._new_life() if self._begun.empty() else None
            if mine:
                self._create(mine)
            life = self._begun.get()
            life.started.wait()
            if life.state == "running":
                self._see_to_its_end(life)
                self._check(life)
            elif life.ended.is_set() or life.closings():
                self._doubled("its create failed, but it has an exit, or its writers were closed", life)
            life.forget_output()

    def _new_life(self) -> Life:
        self._number += 1
        dice = self._dice
        kinds = new_kinds(dice)
        plan, restarts = new_plan(dice), dice.random() < _RESTARTED
        self.life = Life(self.id, self._number, plan, kinds, self._world.directory, restarts)
        self._begun.put(self.life)
        return self.life

    def _create(self, life: Life) -> None:
        executor = self._world.executor
        try:
            executor.create(self.id, life.plan.spec(self._world.rootfs, self.id), *life.new_sinks())
        except PluginExecError as error:
            life.note(f"create: {type(error).__name__}: {error}")
            life.state = "failed"
            if isinstance(error, AlreadyExists):
                self._clear(executor, life)
            self._world.over.wait(_AGAIN)
        else:
            life.note("created")
            life.state = "running"
            with suppress(NotFound):  # it has ended
                self._world.witness.add(life, executor.pid(self.id))
            self._world.count("lives")
            if life.plan.fails:
                self._doubled("a plugin without an executable started", life)
        finally:
            life.started.set()

    def _clear(self, executor: Executor, life: Life) -> None:
        """Do what the error advises: restore it, and stop it; its exit is nobody's."""
        # A create failed while containerd was away, and its executor was closed before it could remove the rest.
        self._cleared = threading.Event()
        with suppress(PluginExecError):
            if executor.restore(self.id):
                executor.stop(self.id, 0)
                self._cleared.wait(PATIENCE)
                life.note("stopped what was in the way")
        self._cleared = None

    def _see_to_its_end(self, life: Life) -> None:
        if life.plan.ending != "itself":
            life.ended.wait(self._dice.uniform(0, 3))
        deadline = time.monotonic() + PATIENCE
        while not life.ended.is_set():
            if life.plan.ending != "itself":
                self._end(life)
            if time.monotonic() > deadline:
                self._world.count("exits_lost")
                self._world.report("its exit is lost", life)
                return
            life.ended.wait(1.0)

    def _end(self, life: Life) -> None:
        if life.plan.ending == "KILL":
            life.cut = True
        try:
            if life.plan.ending == "KILL" and self._dice.random() < 0.3:
                self._world.executor.stop(self.id, 0.2)
            else:
                self._world.executor.signal(self.id, life.plan.ending)
        except PluginExecError as error:
            life.note(f"to end it: {type(error).__name__}: {error}")

    def _check(self, life: Life) -> None:
        deadline = time.monotonic() + PATIENCE / 4
        # A file is complete when the logger is done: with its shim killed, nobody waits for that.
        while (lost := life.bytes_lost()) and time.monotonic() < deadline:
            time.sleep(_AGAIN)
        if lost:
            self._world.count("bytes_lost", lost)
            self._world.report(f"{lost} bytes are lost, or wrong", life)
        if life.unclosed():
            self._world.count("leaks", life.unclosed())
            self._world.report("its writers were not closed exactly once", life)

    def note_exit(self, status: ExitStatus, how: str) -> Life | None:
        """Take an exit; return the life that it ended, or ``None`` if it ended none."""
        life = self.life
        if self._cleared:
            self._pids.append(status.pid)
            self._cleared.set()
            return None
        if life is None or life.ended.is_set() or life.state == "failed" or status.pid in self._pids:
            self._doubled(f"an exit too many, by {how}: {status}", life)
            return None
        self._pids.append(status.pid)
        life.note(f"exit by {how}: {status}")
        for what, wrong in judge(life, status):
            self._world.count(what)
            if wrong:
                self._world.report(wrong, life)
        life.ended.set()
        return life

    def handle_exit_event(self, status: ExitStatus) -> None:
        """Take an exit from an executor's handler."""
        with self.lock:
            life = self.note_exit(status, "the handler")
            following = self._new_life() if life and life.restarts and not self._world.over.is_set() else None
        if following:
            self._create(following)

    def _doubled(self, what: str, life: Life | None) -> None:
        self._world.count("exits_doubled")
        self._world.report(what, life)

    def current(self) -> Life | None:
        """Return the life that was left running by an executor that is closed."""
        life = self.life
        if life is None:
            return None
        life.started.wait()
        return life if life.state == "running" and not life.ended.is_set() else None

    def take_over(self, executor: Executor) -> None:
        """Restore what should run, in a new executor."""
        life = self.current()
        if life is None:
            return
        if life.containerd_died and not life.has_logger:
            life.codes.add(None)  # nobody held its process
            life.unwatched = True
        sinks = life.new_sinks()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                alive = executor.restore(self.id, *sinks)
                break
            except PluginExecError as error:
                life.note(f"restore: {type(error).__name__}: {error}")
                life.forget_unused_sinks()
                if time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN)
                sinks = life.new_sinks()
        life.note("restored, alive" if alive else "restored, ended")
        if not alive:
            with suppress(NotFound), self.lock:
                self.note_exit(executor.exit_status(self.id), "restore")
