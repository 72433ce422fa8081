"""What goes wrong, at random."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, PluginExecError
from pluginexec.containerd.client import Client
from tests.soak.lives import Life
from tests.soak.slots import Slot, World
from tests.support.containers import ctr
from tests.support.fleet import KERNEL_TELLS_CODES
from tests.support.harness import wait_until
from tests.support.worker import Worker

_BETWEEN_DEATHS = 11.0
"""Seconds between two deaths of containerd: five early ones in a row, and it is given up."""


class Faults:
    """The faults of one soak, each with what the model must know of it."""

    def __init__(
        self,
        world: World,
        slots: list[Slot],
        containerd: Containerd,
        new_executor: Callable[[], Executor],
        dice: random.Random,
    ) -> None:
        self._world = world
        self._slots = slots
        self._containerd = containerd
        self._new_executor = new_executor
        self._dice = dice
        self._workers = itertools.count()
        self._killed_at = time.monotonic() - _BETWEEN_DEATHS
        self.client: Client = containerd.remote.new_client(PLUGIN_NAMESPACE)
        self.history: list[tuple[float, str]] = []
        self._all = [
            self.kill_events,
            self.stop_events,
            self.kill_containerd,
            self.stop_containerd,
            self.kill_a_shim,
            self.kill_an_init_process,
            self.replace_the_executor,
            self.kill_an_executor,
            self.run_an_exec,
            self.run_an_exec,
        ]

    def inject(self) -> None:
        """Inject one fault."""
        fault = self._dice.choice(self._all)
        self.note(fault.__name__)
        fault()
        self.note(f"{fault.__name__}: done")
        self._world.counts.faults += 1

    def note(self, what: str) -> None:
        """Keep in mind what was done, and when."""
        self.history.append((time.monotonic(), what))

    def kill_events(self) -> None:
        """SIGKILL ``ctr events``."""
        for process in self._events():
            process.kill()

    def stop_events(self) -> None:
        """Have ``ctr events`` hang."""
        for process in self._events():
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                time.sleep(self._dice.uniform(0.1, 3))
                process.resume()

    def _events(self) -> Iterator[psutil.Process]:
        for process in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                if "events" in process.cmdline():
                    yield process

    def kill_containerd(self) -> None:
        """SIGKILL containerd; its supervisor starts it again."""
        pid = self._containerd.pid
        if not pid or time.monotonic() - self._killed_at < _BETWEEN_DEATHS:
            return
        self._killed_at = time.monotonic()
        for slot in self._slots:
            if slot.life:
                slot.life.containerd_died = True
                slot.life.codes |= set() if KERNEL_TELLS_CODES else {None}
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self._containerd.pid not in (None, pid), "the next containerd")

    def stop_containerd(self) -> None:
        """Have containerd hang."""
        pid = self._containerd.pid
        if pid:
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(self._dice.uniform(0.1, 3))
            finally:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def _victim(self) -> Iterator[Life | None]:
        """Choose a plugin that runs, and that stays the one of its id meanwhile."""
        slot = self._dice.choice(self._slots)
        with slot.lock:
            life = slot.life
            yield life if life and life.state == "running" and not life.ended.is_set() else None

    def kill_a_shim(self) -> None:
        """SIGKILL a shim; its plugin dies with it, and of one that has ended containerd says the same."""
        with self._victim() as life:
            shim = self._shim(life.id) if life else None
            if life and shim:
                self._cut(life, "its shim is killed")
                # Who reaps it now, and when, is the machine's business; until then the kernel tells no code.
                life.codes.add(None)
                with suppress(psutil.NoSuchProcess):
                    shim.kill()

    def _shim(self, id: str) -> psutil.Process | None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                pairs = list(itertools.pairwise(process.cmdline()))
                if ("-id", id) in pairs and ("-address", self._containerd.address) in pairs:
                    return process
        return None

    def kill_an_init_process(self) -> None:
        """SIGKILL an init process."""
        with self._victim() as life, suppress(PluginExecError):
            task = self.client.tasks().get(life.id) if life else None
            if life and task and task.pid:
                self._cut(life, "its init process is killed")
                with suppress(ProcessLookupError):
                    os.kill(task.pid, signal.SIGKILL)

    def _cut(self, life: Life, what: str) -> None:
        life.cut = True
        life.codes.add(137)
        life.note(what)

    def run_an_exec(self) -> None:
        """Run something in a plugin, whose end containerd reports in the same words."""
        with self._victim() as life:
            pass
        if life:
            with suppress(PluginExecError):
                ctr(self.client, "tasks", "exec", "--exec-id", f"e{time.monotonic_ns()}", "--", life.id, "true")

    def replace_the_executor(self) -> None:
        """Close the executor; the next takes over."""
        self._world.executor.close()
        self._take_over()

    def kill_an_executor(self) -> None:
        """Have another process take over, SIGKILL it, and take over from it."""
        self._world.executor.close()
        lives = [life for slot in self._slots if (life := slot.current())]
        steps = [["restore", life.id, *life.foreign_sinks()] for life in lives]
        for life in lives:
            life.deaths += 1
            if not life.has_logger or not KERNEL_TELLS_CODES:
                # A restore asks for the code by deleting the task; killed then, nobody knows it any more.
                life.codes.add(None)
            life.note("restored by a process that is killed")
        root = self._world.directory / "root"
        journal = self._world.directory / f"journal-{next(self._workers)}"
        worker = Worker(root, self._containerd.remote, journal, steps)
        try:
            wait_until(lambda: worker.entries, "its first step") if steps else None
            time.sleep(self._dice.uniform(0, 1))
        finally:
            worker.kill()
        for life in lives:
            told = worker.exits(life.id)
            life.note(f"its process was told of {told}")
            if len(told) > 1:
                self._world.count("exits_doubled", len(told) - 1)
                self._world.report("its process was told more than one exit", life)
        self._take_over()

    def _take_over(self) -> None:
        executor = self._new_executor()
        for slot in self._slots:
            slot.take_over(executor)
        self._world.executor = executor
