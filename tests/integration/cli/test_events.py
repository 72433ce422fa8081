"""``pluginexec events`` as a user runs it. Real: the command, containerd (one that is killed, too), plugins."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd
from pluginexec.containerd.client import Client
from pluginexec.host.pause import pause, unpause
from tests.support.containers import ctr
from tests.support.harness import PATIENCE, wait_until
from tests.support.plugins import Plugins, command_line, finished

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z) container (\S+) (\S+)(?: \((.*)\))?")


class Watcher:
    """A ``pluginexec events`` that runs, and what it has printed so far."""

    def __init__(self, argv: list[str], directory: Path) -> None:
        self._files = [directory / "events.out", directory / "events.err"]
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    @property
    def printed(self) -> str:
        return self._files[0].read_text()

    @property
    def stderr(self) -> str:
        return self._files[1].read_text()

    def actions(self, id: str) -> list[str]:
        """The actions of a plugin, with their details."""
        found = [match for match in map(LINE.fullmatch, self.printed.splitlines()) if match and match[3] == id]
        return [f"{match[2]} {match[4] or ''}".strip() for match in found]

    def wait_for(self, action: str, id: str) -> None:
        wait_until(lambda: action in self.actions(id), f"{action} of {id}")

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def watch(no_leaks: None, root_dir: Path, containerd: Containerd, tmp_path: Path) -> Iterator[Callable[..., Watcher]]:
    """Start the command; what still runs in the end is ended."""
    watchers: list[Watcher] = []

    def watch(*arguments: str, address: str = containerd.address) -> Watcher:
        watchers.append(Watcher(command_line(root_dir, address, "events", *arguments), tmp_path))
        return watchers[-1]

    yield watch
    for watcher in watchers:
        watcher.end()


def wait_until_active(watcher: Watcher, plugins: Plugins) -> None:
    """Wait until containerd's events arrive: pauses are not in the records."""
    id = plugins.run()

    def seen() -> bool:
        pause(plugins.host, id)
        unpause(plugins.host, id)
        return "unpause" in watcher.actions(id)

    wait_until(seen, "the stream to be active")
    plugins.host.stop(id, 0)
    plugins.host.remove(id)


def test_events_are_printed_line_by_line_until_ctrl_c(plugins: Plugins, client: Client, watch: Any) -> None:
    watcher = watch()
    wait_until_active(watcher, plugins)
    id = plugins.create("sleep 1000 & trap 'exit 3' TERM; wait", labels={"k": "v"})
    watcher.wait_for("create k=v", id)
    plugins.host.start(id)
    pause(plugins.host, id)
    unpause(plugins.host, id)
    ctr(client, "tasks", "exec", "--exec-id", "e", "--", id, "true")
    plugins.host.stop(id)
    plugins.host.remove(id)
    watcher.wait_for("destroy k=v", id)
    assert watcher.end() == 130
    assert watcher.stderr == ""
    shown = [
        *("create k=v", "start k=v", "pause k=v", "unpause k=v", "exec_create execID=e, k=v"),
        *("exec_start execID=e, k=v", "exec_die execID=e, exitCode=0, k=v", "die exitCode=3, k=v", "destroy k=v"),
    ]
    assert watcher.actions(id) == shown
    moments = [datetime.fromisoformat(line.split("Z ")[0]) for line in watcher.printed.splitlines() if id in line]
    assert moments == sorted(moments)


def test_what_was_before_is_printed_first_and_nothing_twice(plugins: Plugins, watch: Any) -> None:
    ended, runs = plugins.run("exit 7"), plugins.run()
    plugins.host.wait(ended)
    watcher = watch("--since", "10m")
    watcher.wait_for("start", runs)
    wait_until_active(watcher, plugins)
    plugins.host.stop(runs, 0)
    watcher.wait_for("die exitCode=137", runs)
    again = plugins.run("exit 0")
    plugins.host.wait(again)
    watcher.wait_for("die exitCode=0", again)
    assert watcher.end() == 130
    assert watcher.actions(ended) == ["create", "start", "die exitCode=7"]
    assert watcher.actions(runs) == ["create", "start", "die exitCode=137"]
    assert watcher.actions(again) == ["create", "start", "die exitCode=0"]


def test_the_past_alone_needs_no_containerd_and_ends_at_once(plugins: Plugins, root_dir: Path) -> None:
    id = plugins.run("exit 7", labels={"k": "v"})
    plugins.host.wait(id)
    argv = command_line(root_dir, "/no/such/socket", "events", "--since", "10m", "--until", "0s", "--format", "json")
    code, printed, stderr = finished(argv)
    assert (code, stderr) == (0, "")
    events = [json.loads(line) for line in printed]
    assert [event["action"] for event in events] == ["create", "start", "die"]
    assert list(events[2]) == ["time", "type", "action", "id", "attributes", "labels"]
    assert {key: events[2][key] for key in ("type", "id", "attributes", "labels")} == {
        "type": "container",
        "id": id,
        "attributes": {"exit_code": 7},
        "labels": {"k": "v"},
    }
    finished_at = plugins.records.state(id).finished_at
    assert events[2]["time"] == f"{finished_at:%Y-%m-%dT%H:%M:%S.%f}Z".replace(".000000Z", "Z")


def test_it_ends_when_that_was_asked_for(plugins: Plugins, watch: Any) -> None:
    id = plugins.run()
    watcher = watch("--since", "1m", "--until", str(datetime.now(timezone.utc).timestamp() + 1))
    assert watcher.process.wait(PATIENCE) == 0
    assert watcher.actions(id) == ["create", "start"]


def test_filters_and_a_template_choose_what_is_printed(plugins: Plugins, root_dir: Path) -> None:
    id, other = plugins.create(labels={"color": "red"}), plugins.create()
    plugins.host.start(id)
    argv = command_line(
        root_dir, "/none", "events", "--since", "1h", "--until", "0s", "--format", "{{.Action}} {{.ID}}"
    )
    assert finished([*argv, "-f", "event=create"]) == (0, [f"create {id}", f"create {other}"], "")
    assert finished([*argv, "-f", "label=color=red"]) == (0, [f"create {id}", f"start {id}"], "")


def test_when_containerd_was_killed_the_stream_comes_back_and_says_so(
    mortal: Containerd, root_dir: Path, new_id: Callable[[], str], shell: Any, watch: Any
) -> None:
    plugins = Plugins(root_dir, mortal.address, new_id, shell)
    watcher = watch(address=mortal.address)
    wait_until_active(watcher, plugins)
    assert mortal.pid is not None
    os.kill(mortal.pid, signal.SIGKILL)
    wait_until(lambda: "containerd's events are back" in watcher.stderr, "the warning")
    id = plugins.run("exit 5")
    plugins.host.wait(id)
    watcher.wait_for("die exitCode=5", id)
    assert watcher.actions(id) == ["create", "start", "die exitCode=5"]
