"""One soak, from an empty machine to an empty machine."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pluginexec import Containerd, Executor, ExitStatus, PluginExecError
from pluginexec.cleanup.loggers import find_loggers
from pluginexec.cleanup.shims import find_shims
from pluginexec.testing.rootfs import make_rootfs
from tests.soak.faults import Faults
from tests.soak.judge import Witness
from tests.soak.lives import Life
from tests.soak.slots import Counts, Slot, World
from tests.support.harness import held_descriptors, live_children, our_threads

SLOTS = 6
_LONGEST_PAUSE = 1.5
_GONE_WITHIN = 90.0


class _Handler:
    """Hands each exit to the slot of its id."""

    def __init__(self, slots: dict[str, Slot]) -> None:
        self._slots = slots

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Take an exit."""
        self._slots[id].handle_exit_event(status)


class Soak:
    """Slots, faults, and a containerd of their own."""

    def __init__(self, directory: Path, containerd: Containerd, seed: str) -> None:
        self._containerd = containerd
        self._slots: dict[str, Slot] = {}
        witness = Witness()
        self._world = World(
            self._new_executor(directory), make_rootfs(directory / "rootfs"), directory, self._report, witness
        )
        # Dice for each: threads that share them would not throw the same again.
        for number in range(SLOTS):
            id = f"soak{os.getpid()}-{number}"
            self._slots[id] = Slot(self._world, id, random.Random(f"{seed} {number}"))
        self._dice = random.Random(seed)
        self._faults = Faults(
            self._world,
            list(self._slots.values()),
            containerd,
            lambda: self._new_executor(directory),
            random.Random(f"{seed} faults"),
        )
        self._printing = threading.Lock()

    def _new_executor(self, directory: Path) -> Executor:
        return Executor(directory / "root", self._containerd.remote, _Handler(self._slots))

    def run(self, seconds: float) -> Counts:
        """Run, and count what went wrong."""
        deadline = time.monotonic() + seconds
        for slot in self._slots.values():
            slot.start()
        try:
            while time.monotonic() < deadline:
                time.sleep(self._dice.uniform(0, _LONGEST_PAUSE))
                self._faults.inject()
        finally:
            self._world.over.set()
            for slot in self._slots.values():
                slot.join()
            self._check_that_all_is_gone()
            self._world.executor.close()
            self._world.witness.close()
        return self._world.counts

    def _check_that_all_is_gone(self) -> None:
        deadline = time.monotonic() + _GONE_WITHIN
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        if left:
            self._world.count("leaks", len(left))
            self._report(f"left behind: {left}", None)

    def _left(self) -> list[str]:
        client = self._faults.client
        state = Path(self._containerd.address).parent / "state"
        try:
            left = [f"task {task}" for task in client.tasks().values()]
            left += [f"container {id}" for id in client.containers()]
        except PluginExecError as error:
            return [str(error)]
        left += [f"shim {' '.join(process.cmdline())}" for process in find_shims(self._containerd.address)]
        left += [f"logger {process}" for process in find_loggers(state / "io.containerd.runtime.v2.task")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        left += [f"mount {line}" for line in mounts if f" {state}" in line]
        for hierarchy in (".", "*"):  # cgroup v2, and each of v1
            cgroups = Path("/sys/fs/cgroup").glob(f"{hierarchy}/pluginexec/soak{os.getpid()}-*")
            left += [f"cgroup {path}" for path in cgroups]
        containers = self._world.directory / "root" / "containers"
        return left + [f"file {path}" for path in containers.glob("*/*") if path.name != "exit.json"]

    def _report(self, what: str, life: Life | None) -> None:
        with self._printing:
            print(f"\n{life.id + f', life {life.number}' if life else 'soak'}: {what}", flush=True)
            if life:
                began = life.history[0][0] - 5
                faults = [(at, f"fault: {fault}") for at, fault in self._faults.history if at > began]
                for at, entry in sorted(life.history + faults):
                    print(f"  {at:.3f} {entry}", flush=True)


def soak(seconds: float, seed: str, say: Callable[[str], None] = print) -> Counts:
    """Run one soak in a directory of its own, which is removed; Ctrl-C ends it, and cleans up."""
    held = (our_threads(), live_children(), len(held_descriptors()))
    directory = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))
    try:
        with Containerd(directory / "c") as containerd:
            counts = Soak(directory, containerd, seed).run(seconds)
    finally:
        shutil.rmtree(directory)
    leaks = [*(our_threads() - held[0]), *(live_children() - held[1])]
    more = len(held_descriptors()) - held[2]
    if leaks or more > 0:
        say(f"left behind: {leaks}, {more} descriptors")
        counts.leaks += len(leaks) + max(0, more)
    return counts
