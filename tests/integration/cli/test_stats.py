"""``pluginexec stats`` as a user runs it. Real: the command, a terminal (a pty), containerd, plugins, their cgroups."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec.cli.commands.stats import NUMBERS
from tests.support.harness import PATIENCE, wait_until
from tests.support.plugins import Plugins, command_line, finished

BUSY = "while :; do :; done"
HEADER = "CONTAINER ID   CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS"
ROW = r"{}\s+\d+\.\d\d%\s+\S+B / 64MiB\s+\d+\.\d\d%\s+0B / 0B\s+\S+B / \S+B\s+1"
MIB = 1 << 20
Command = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def stats(root_dir: Path) -> Command:
    """Run the command; it needs no containerd."""
    return lambda *arguments: finished(command_line(root_dir, "/none", "stats", *arguments))


class Watcher:
    """A ``pluginexec stats`` that runs, and what it has printed so far."""

    def __init__(self, argv: list[str], out: int) -> None:
        self._out = out
        os.set_blocking(out, False)
        self._printed = b""
        self.process: subprocess.Popen[bytes]
        self.argv = argv

    @property
    def printed(self) -> str:
        try:
            while data := os.read(self._out, 1 << 16):
                self._printed += data
        except OSError:  # nothing now, or a terminal without a writer
            pass
        return self._printed.decode()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.printed, f"{text!r} in what was printed")

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def watch(no_leaks: None, root_dir: Path) -> Iterator[Callable[..., Watcher]]:
    """Start the command on a pipe, or a terminal; what still runs in the end is ended."""
    watchers: list[tuple[Watcher, int]] = []

    def watch(*arguments: str, terminal: bool = False) -> Watcher:
        ours, its = pty.openpty() if terminal else os.pipe()
        watcher = Watcher(command_line(root_dir, "/none", "stats", *arguments), ours)
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
        watcher.process = subprocess.Popen(
            watcher.argv, stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE, env=environment
        )
        os.close(its)
        watchers.append((watcher, ours))
        return watcher

    yield watch
    for watcher, descriptor in watchers:
        watcher.end()
        assert watcher.process.stderr
        watcher.process.stderr.close()
        os.close(descriptor)


def test_once_is_a_table_of_all_that_run(plugins: Plugins, stats: Command) -> None:
    limit = {"memory": {"limit": 64 * MIB}}
    busy, idle = plugins.run(BUSY, resources=limit), plugins.run(resources=limit)
    plugins.create()
    code, printed, stderr = stats("--no-stream")
    assert (code, stderr) == (0, "")
    assert re.fullmatch(HEADER.replace(" ", " +").replace("/", " */ *"), printed[0])
    rows = dict(zip((line.split()[0] for line in printed[1:]), printed[1:], strict=True))
    assert set(rows) == {busy, idle}
    assert all(re.fullmatch(ROW.format(id), row) for id, row in rows.items())
    assert float(rows[busy].split()[1].rstrip("%")) > float(rows[idle].split()[1].rstrip("%"))


def test_json_has_numbers_of_those_that_were_named(plugins: Plugins, stats: Command) -> None:
    id, _ = plugins.run(BUSY, resources={"pids": {"limit": 9}}), plugins.run()
    _, (line,), _ = stats("--no-stream", "--format", "json", id)
    numbers = json.loads(line)
    assert tuple(numbers) == NUMBERS
    assert (numbers["id"], numbers["pids"], numbers["pids_limit"]) == (id, 1, 9)
    assert numbers["cpu_percent"] > 1
    assert 0 < numbers["memory"] < numbers["memory_limit"]


def test_where_nothing_runs_there_is_only_the_header(root_dir: Path, stats: Command) -> None:
    assert stats("--no-stream")[:2] == (0, [HEADER])


def test_what_does_not_run_or_is_not_there_is_an_error(plugins: Plugins, stats: Command) -> None:
    runs, created = plugins.run(), plugins.create()
    code, printed, stderr = stats(runs, created)
    assert (code, printed) == (125, [])
    assert stderr == f"pluginexec: stats '{created}': it is not running\n"
    code, printed, stderr = stats("nope")
    assert (code, printed) == (125, [])
    assert "no such plugin: 'nope'" in stderr


def test_each_second_adds_a_table_until_ctrl_c(plugins: Plugins, watch: Any) -> None:
    id = plugins.run()
    watcher = watch()
    watcher.wait_for(f"\n{id}")
    plugins.host.stop(id, 0)
    wait_until(lambda: watcher.printed.endswith(f"\n{HEADER}\n"), "a table without what has ended")
    assert watcher.end() == 130
    assert "\x1b" not in watcher.printed
    assert watcher.process.stderr.read() == b""


def test_when_all_that_were_named_have_ended_that_is_the_end(plugins: Plugins, watch: Any) -> None:
    id, _ = plugins.run(), plugins.run()
    watcher = watch(id, "--format", "json")
    watcher.wait_for(id)
    plugins.host.stop(id, 0)
    assert watcher.process.wait(PATIENCE) == 0
    assert watcher.process.stderr.read() == b""


def test_on_a_terminal_the_table_is_drawn_in_its_place_and_ctrl_c_brings_the_cursor_back(
    plugins: Plugins, watch: Any
) -> None:
    id = plugins.run(BUSY)
    watcher = watch(terminal=True)
    wait_until(lambda: watcher.printed.count("CONTAINER ID") == 2, "two tables")
    assert watcher.end() == 130
    printed = watcher.printed.replace("\r\n", "\n")
    assert printed.startswith("\x1b[?25l\r\x1b[KCONTAINER ID")
    assert re.search(rf"{id}\s+--\s.*\n\x1b\[J\x1b\[2A\r\x1b\[KCONTAINER ID.*\n\x1b\[K{id}\s+\d+\.\d\d%", printed)
    assert printed.endswith("\x1b[?25h")


def test_a_signal_that_ends_it_brings_the_cursor_back_too(no_leaks: None, watch: Any) -> None:
    watcher = watch(terminal=True)
    watcher.wait_for("CONTAINER ID")
    assert watcher.end(signal.SIGTERM) == 143
    assert watcher.printed.endswith("\x1b[?25h")
