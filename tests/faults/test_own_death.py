"""Our own process is SIGKILLed at any moment; the next executor loses nothing, doubles nothing, and no id is blocked.

Real: containerd, the containers, an executor in a process of its own (``tests/support/worker.py``), its SIGKILL. Where
a death must fall into one certain moment, a script around the real ``ctr`` kills the process that called it.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pluginexec import AlreadyExists, Executor, ExitStatus, NotFound, Remote
from pluginexec.containerd.client import Client
from pluginexec.streams.relay import CHUNK
from tests.support.bytemodel import gaps, numbered
from tests.support.fakes import fake_command
from tests.support.harness import PATIENCE, Exits, wait_until
from tests.support.worker import FileWriter, Worker

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
Start = Callable[..., Worker]
LINES = 40_000


@dataclass
class Life:
    """One plugin: what it prints and where that goes, and how it ends."""

    id: str
    code: int
    kind: str
    """Of its sinks: ``writer`` or ``path``."""
    pause: float
    """Seconds that its writers sleep before each write."""
    stays: bool
    """Whether it stays until it is stopped."""
    directory: Path
    lines: int = LINES

    @property
    def script(self) -> str:
        """What it runs: all that it prints, on both streams at the same time."""
        end = f"exit {self.code}"
        prints = f"seq -w 1 {self.lines} & seq -w 1 {self.lines} >&2; wait"
        return f"trap '{end}' TERM; {prints}; while :; do sleep 0.05; done" if self.stays else f"{prints}; {end}"

    @property
    def files(self) -> list[Path]:
        """Where its two streams arrive."""
        return [self.directory / f"{self.id}-{name}" for name in ("stdout", "stderr")]

    @property
    def described_sinks(self) -> list[list[Any]]:
        """Its sinks, in a worker's words."""
        return [[self.kind, str(file), *([self.pause] if self.kind == "writer" else [])] for file in self.files]

    def new_sinks(self) -> list[FileWriter] | list[Path]:
        """Return its sinks for an executor in this process."""
        return [FileWriter(file) for file in self.files] if self.kind == "writer" else self.files

    def check_bytes(self, deaths: int) -> None:
        """With a path nothing is lost; with a writer, only what a process that was killed had read, one chunk."""
        for file in self.files:
            lost = gaps(numbered(self.lines), file.read_bytes())
            if self.kind == "path":
                assert not lost, f"{file.name} lost {lost} bytes"
            assert len(lost) <= deaths, f"{file.name} lost {lost} bytes in {deaths} deaths"
            # Those of deaths in a row, with nothing written in between, are one gap.
            assert sum(lost) <= deaths * CHUNK, f"{file.name} lost {lost} bytes in {deaths} deaths"


@pytest.fixture
def start(root_dir: Path, remote: Remote, tmp_path: Path) -> Iterator[Start]:
    """Start workers on the test's root; all are killed in the end."""
    workers: list[Worker] = []

    def start(steps: list[list[Any]], **changes: Any) -> Worker:
        journal = tmp_path / f"journal-{len(workers)}"
        workers.append(Worker(root_dir, dataclasses.replace(remote, **changes), journal, steps))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def lives(dice: random.Random, new_id: Callable[[], str], tmp_path: Path) -> Callable[[], list[Life]]:
    """Make some plugins with random sinks."""

    def make() -> list[Life]:
        return [
            Life(
                new_id(),
                dice.randrange(256),
                dice.choice(["writer", "writer", "path"]),
                dice.choice([0.0, 0.02, 0.05]),
                stays,
                tmp_path,
            )
            for stays in (False, True, False)
        ]

    return make


def creations(lives: list[Life], shell: Shell) -> list[list[Any]]:
    return [["create", life.id, shell(life.id, life.script), *life.described_sinks] for life in lives]


def take_over(executor: Executor, exits: Exits, life: Life) -> ExitStatus | None:
    """Restore a plugin, see it to its end, and return what is known of that; ``None`` if it never started."""
    if executor.restore(life.id, *life.new_sinks()):
        if life.stays:
            executor.signal(life.id, "TERM")
        status = executor.wait(life.id, PATIENCE)
        wait_until(lambda: exits.ids.count(life.id), f"the exit of {life.id}")
        return status
    assert life.id not in exits.ids
    try:
        return executor.exit_status(life.id)
    except NotFound:
        return None


def check(executor: Executor, exits: Exits, workers: list[Worker], life: Life, codes: tuple[int | None, ...]) -> None:
    """Check one plugin after the deaths of all workers: its exit, its bytes, and that its id is free."""
    status = take_over(executor, exits, life)
    told = [exit for worker in workers for exit in worker.exits(life.id)]
    assert len(told) <= 1
    if status is None:
        assert not any(["done", "create", life.id] == entry[:3] for worker in workers for entry in worker.entries)
        assert all(not file.exists() or not file.read_bytes() for file in life.files)
    else:
        assert status.exit_code in codes
        assert told in ([], [(status.pid, status.exit_code)])
        life.check_bytes(len(workers))


def check_that_ids_are_free(executor: Executor, exits: Exits, lives: list[Life], shell: Shell, client: Client) -> None:
    before = {life.id: exits.ids.count(life.id) for life in lives}
    for life in lives:
        executor.create(life.id, shell(life.id, "exit 5"))
    for life in lives:
        assert executor.wait(life.id, PATIENCE).exit_code == 5
    wait_until(lambda: all(exits.ids.count(life.id) == before[life.id] + 1 for life in lives), "the exits")
    assert (client.tasks(), client.containers()) == ({}, [])


@pytest.mark.parametrize(("moment", "latest"), [("create", 1.2), ("close", 0.05)])
def test_killed_while_plugins_start_run_and_end(
    moment: str,
    latest: float,
    start: Start,
    lives: Callable[[], list[Life]],
    new_executor: NewExecutor,
    shell: Shell,
    client: Client,
    dice: random.Random,
    rounds: range,
) -> None:
    for _ in rounds:
        some = lives()
        worker = start([*creations(some, shell), ["close", ""]] if moment == "close" else creations(some, shell))
        worker.await_entry(moment)
        time.sleep(dice.uniform(0, latest))
        worker.kill()
        exits = Exits()
        with new_executor(exits) as executor:
            for life in some:
                check(executor, exits, [worker], life, (life.code,))
            check_that_ids_are_free(executor, exits, some, shell, client)


def test_killed_while_plugins_are_restored(
    start: Start,
    lives: Callable[[], list[Life]],
    new_executor: NewExecutor,
    shell: Shell,
    client: Client,
    dice: random.Random,
    rounds: range,
) -> None:
    for _ in rounds:
        some = lives()
        workers = [start(creations(some, shell))]
        workers[0].await_entry("idle")
        workers[0].kill()
        for _ in range(dice.choice([1, 2])):
            workers.append(start([["restore", life.id, *life.described_sinks] for life in some]))
            workers[-1].await_entry("restore")
            time.sleep(dice.uniform(0, 0.5))
            workers[-1].kill()
        exits = Exits()
        with new_executor(exits) as executor:
            for life in some:
                # A restore asks containerd for the code by deleting the task; killed then, nobody knows it any more.
                check(executor, exits, workers, life, (life.code, None))
            check_that_ids_are_free(executor, exits, some, shell, client)


def deadly(path: Path, command: str, when: str) -> str:
    """Return a ``ctr`` that kills its caller before or after one command, and does what it should in any case."""
    kill = "kill -KILL $PPID"
    steps = f'{kill}; sleep 1; exec ctr "$@"' if when == "before" else f'ctr "$@"; {kill}'
    return fake_command(path, f'case "$*" in *" {command} "*) {steps};; *) exec ctr "$@";; esac')


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "ends"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_its_ctr_run_goes_on(
    start: Start,
    new_executor: NewExecutor,
    id: str,
    shell: Shell,
    exits: Exits,
    client: Client,
    tmp_path: Path,
    when: str,
    stays: bool,
) -> None:
    life = Life(id, 3, "writer", 0.0, stays, tmp_path)
    worker = start(creations([life], shell), ctr=deadly(tmp_path / "ctr", "run", when))
    worker.wait()
    executor = new_executor()
    status = take_over(executor, exits, life)
    assert status
    assert status.exit_code == 3
    life.check_bytes(1)
    check_that_ids_are_free(executor, exits, [life], shell, client)


def test_an_id_whose_ctr_run_goes_on_is_not_created_twice(
    start: Start, new_executor: NewExecutor, id: str, shell: Shell, client: Client, tmp_path: Path
) -> None:
    life = Life(id, 3, "path", 0.0, True, tmp_path)
    start(creations([life], shell), ctr=deadly(tmp_path / "ctr", "run", "before")).wait()
    executor = new_executor()
    with pytest.raises(AlreadyExists):
        executor.create(id, shell(id, "exit 0"))
    assert executor.restore(id, *life.new_sinks())
    assert executor.stop(id).exit_code == 3
    life.check_bytes(0)


def test_a_start_that_failed_after_our_death_leaves_nothing_and_says_nothing(
    start: Start, new_executor: NewExecutor, id: str, shell: Shell, exits: Exits, client: Client, tmp_path: Path
) -> None:
    life = Life(id, 3, "writer", 0.0, False, tmp_path)
    spec = shell(id, "")
    spec["process"]["args"] = ["/no/such/executable"]
    worker = start([["create", id, spec, *life.described_sinks]], ctr=deadly(tmp_path / "ctr", "run", "before"))
    worker.wait()
    executor = new_executor()
    assert take_over(executor, exits, life) is None
    # runc wrote its complaint to the plugin's stderr.
    assert [file.read_bytes() for file in life.files] == [b"", b""]
    check_that_ids_are_free(executor, exits, [life], shell, client)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_between_the_exit_record_and_the_handler(
    start: Start,
    new_executor: NewExecutor,
    id: str,
    shell: Shell,
    exits: Exits,
    client: Client,
    tmp_path: Path,
    when: str,
) -> None:
    life = Life(id, 3, "writer", 0.0, False, tmp_path)
    worker = start(creations([life], shell), ctr=deadly(tmp_path / "ctr", "containers rm", when))
    worker.wait()
    assert worker.exits(id) == []
    executor = new_executor()
    status = take_over(executor, exits, life)
    assert status
    assert status.exit_code == 3
    life.check_bytes(1)
    assert exits.ids == []
    check_that_ids_are_free(executor, exits, [life], shell, client)


def test_what_a_killed_drain_left_in_the_fifo_is_delivered(
    start: Start, new_executor: NewExecutor, id: str, shell: Shell, exits: Exits, client: Client, tmp_path: Path
) -> None:
    # The writers are so slow that the task is long deleted and the logger's copies have ended: the FIFO has the rest.
    life = Life(id, 3, "writer", 1.0, False, tmp_path)
    worker = start(creations([life], shell))
    worker.await_entry("idle")
    wait_until(lambda: not client.containers(), "the deletion")
    worker.kill()
    executor = new_executor()
    status = take_over(executor, exits, life)
    assert status
    assert status.exit_code == 3
    life.check_bytes(1)


def test_many_deaths_in_a_row_lose_a_chunk_each_at_most(
    start: Start,
    new_executor: NewExecutor,
    id: str,
    shell: Shell,
    exits: Exits,
    client: Client,
    dice: random.Random,
    tmp_path: Path,
    rounds: range,
) -> None:
    life = Life(id, 3, "writer", 0.1, True, tmp_path, lines=300_000)
    workers = [start(creations([life], shell))]
    for _ in rounds:
        workers[-1].await_entry("idle")
        time.sleep(dice.uniform(0, 0.2))
        workers[-1].kill()
        workers.append(start([["restore", id, *life.described_sinks]]))
    workers[-1].kill()
    executor = new_executor()
    status = take_over(executor, exits, life)
    assert status
    assert status.exit_code == 3
    life.check_bytes(len(workers))
    check_that_ids_are_free(executor, exits, [life], shell, client)
