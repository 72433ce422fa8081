"""``pluginexec doctor`` as a user runs it. Real: the command, this machine, containerd, capabilities, signals.

Not real: a containerd that never answers is a shell script.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Containerd
from tests.support.embedded import own_address, short_root
from tests.support.harness import PATIENCE, wait_until
from tests.support.plugins import command_line, finished

NAMES = (
    *("user", "python", "ctr", "containerd", "shim", "runc", "helpers", "kernel", "cgroups", "namespaces", "seccomp"),
    *("socket", "root", "users", "plugins", "containers", "leftovers", "plugin"),
)


@pytest.fixture
def root(no_leaks: None) -> Iterator[Path]:
    with short_root() as root:
        yield root


def checks_of(stdout: list[str]) -> dict[str, Any]:
    return {check["name"]: check for check in map(json.loads, stdout)}


def left(root: Path) -> list[str]:
    """All that a doctor could leave behind."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    found = [line for line in lines if f"{root}/" in line]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [*map(str, root.iterdir()), *found, *(line for line in mounts if f"{root}/" in line)]


def test_where_plugins_can_run_the_screen_says_so_with_a_line_for_each_check(root: Path) -> None:
    code, lines, stderr = finished(command_line(root / "new", own_address(root / "new"), "doctor"))
    assert (code, stderr) == (0, ""), lines
    assert lines[-1].startswith("Plugins can run on this host")
    assert tuple(line.split()[1] for line in lines if line.split()[0] in ("ok", "warning")) == NAMES
    assert len(lines) <= 24
    assert "a private one will be started at" in "".join(lines)
    assert not left(root)


def test_json_is_an_object_for_each_check_and_templates_choose_fields(containerd: Containerd, root: Path) -> None:
    argv = command_line(root, containerd.address, "doctor", "--format")
    code, lines, stderr = finished([*argv, "json"])
    assert (code, stderr) == (0, "")
    assert tuple(checks_of(lines)) == NAMES
    assert all(sorted(check) == ["found", "name", "remedy", "status"] for check in checks_of(lines).values())
    code, lines, stderr = finished([*argv, "{{.Name}}={{.Status}}"])
    assert (code, "plugin=ok" in lines) == (0, True)
    code, lines, stderr = finished([*argv, "{{.Nope}}"])
    assert (code, lines, "unknown field" in stderr) == (125, [], True)


def test_without_a_capability_it_fails_with_1_names_it_and_leaves_nothing(root: Path) -> None:
    argv = ["setpriv", "--bounding-set=-mknod", *command_line(root, own_address(root), "doctor")]
    code, lines, stderr = finished(argv)
    assert (code, stderr) == (1, "")
    assert "without the capabilities MKNOD" in next(line for line in lines if line.split()[1] == "user")
    assert next(line for line in lines if line.split()[1] == "plugin").startswith("failure")
    assert lines[-1] == "Plugins cannot run on this host, or only some of them: 2 of 18 checks failed."
    assert not left(root)


def test_without_any_program_each_failure_has_a_remedy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    code, lines, stderr = finished(command_line(root, own_address(root), "doctor", "--format", "json"))
    checks = checks_of(lines)
    assert (code, stderr) == (1, "")
    failed = {name for name, check in checks.items() if check["status"] == "failure"}
    assert failed == {"ctr", "containerd", "shim", "runc", "plugin"}
    assert all(bool(check["remedy"]) == (check["status"] != "ok") for check in checks.values())
    assert not left(root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_is_left(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    slow = tmp_path / "containerd"
    slow.write_text('#!/bin/sh\n[ "$1" = --version ] && exec /usr/bin/env echo containerd 1.6.20\nexec sleep 1000\n')
    slow.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    pipe, argv = subprocess.PIPE, command_line(root / "new", own_address(root / "new"), "doctor")
    with subprocess.Popen(
        argv,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment,
    ) as process:
        wait_until(lambda: list(root.glob("new/dr-*/containerd.pid")), "the start of the slow containerd")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (128 + number, "")
    assert "plugin  " not in stdout.splitlines()[-1]
    assert children
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not left(root)
    assert [path.name for path in tmp_path.iterdir()] == ["containerd"]
