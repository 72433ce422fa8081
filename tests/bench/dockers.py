"""Rows: enable and disable a managed plugin, by dockerd and by us; and what keeps it enabled, in memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from pluginexec import ManagedPlugin
from tests.bench.arena import Arena
from tests.bench.effort import Effort
from tests.bench.memory import ANONYMOUS, RSS, held
from tests.bench.rows import Measured, Row, against_peer, at_least, at_most
from tests.bench.spread import alternate, ratios, spread
from tests.support.dockerd import PLUGINS, Dockerd, running_dockerd
from tests.support.managed_plugins.bundles import make_bundle

_NAME = "volume"
_SOCKET = "volume.sock"
_LIMIT = 60.0


def managed(arena: Arena, effort: Effort) -> Measured:
    """The same bundle on the same containerd; dockerd is Debian's, fetched into a folder and not installed."""
    bundle = make_bundle(arena.directory / _NAME, _NAME)
    with running_dockerd(arena.containerd) as dockerd:
        id = dockerd.create_plugin(_NAME, bundle)
        own, other = alternate(
            effort.long_rounds,
            lambda: _enable_and_disable(arena, bundle),
            lambda: _docker(dockerd, id),
        )
        enable, disable = ([times[at] for times in own] for at in (0, 1))
        their_enable, their_disable = ([times[at] for times in other] for at in (0, 1))
        memory = _memory(arena, bundle, dockerd)
    faster = spread(ratios(their_enable, enable))
    return Measured(
        (
            Row(
                "managed plugin: enable (ratio: times faster)",
                "docker plugin enable",
                "ms",
                spread(enable),
                spread(their_enable),
                faster,
                (at_least("ratio", faster.median, 4),),
            ),
            against_peer("managed plugin: disable", "docker plugin disable", "ms", disable, their_disable),
            *memory,
        )
    )


def _enable_and_disable(arena: Arena, bundle: Path) -> tuple[float, float]:
    plugin = ManagedPlugin(arena.executor, bundle, id=arena.new_id())
    try:
        enabling = _timed(plugin.enable)
        assert plugin.implements == ["VolumeDriver"]
        assert plugin.call("VolumeDriver.List")["Volumes"] == []
        return enabling, _timed(plugin.disable)
    finally:
        plugin.remove()


def _docker(dockerd: Dockerd, id: str) -> tuple[float, float]:
    enabling = _timed(lambda: dockerd.docker("plugin", "enable", _NAME))
    assert (PLUGINS / id / _SOCKET).is_socket()
    disabling = _timed(lambda: dockerd.docker("plugin", "disable", _NAME))
    assert dockerd.docker("plugin", "inspect", "--format", "{{.Enabled}}", _NAME) == "false"
    return enabling, disabling


def _memory(arena: Arena, bundle: Path, dockerd: Dockerd) -> tuple[Row, Row]:
    """What keeps one plugin enabled, its shim not counted: a program of ours, or our command line; dockerd."""
    dockerd.docker("plugin", "enable", _NAME)
    theirs, their_own = held(RSS, dockerd.pid), held(ANONYMOUS, dockerd.pid)
    dockerd.docker("plugin", "disable", _NAME)
    before = arena.meter.pids()
    with _kept_enabled(arena, bundle) as process:
        kept = _kept(arena, before)
        assert process.pid in kept
        ours, own, python = held(RSS, *kept), held(ANONYMOUS, *kept), held(RSS, process.pid)
    before = arena.meter.pids()
    with _kept_by_command(arena, bundle):
        logger = held(RSS, *_kept(arena, before))
    others = {
        "of ours: Python": python,
        "of ours: ctr events and logger": ours - python,
        "without what is files', ours": own,
        "without what is files', dockerd": their_own,
    }
    by_program = _memory_row("a program of ours", ours, theirs)
    return (
        replace(by_program, others={what: (spread([value]), "MiB") for what, value in others.items()}),
        _memory_row("the command line: its logger", logger, theirs),
    )


def _memory_row(keeper: str, ours: float, theirs: float) -> Row:
    return Row(
        f"memory that keeps one enabled, RSS: {keeper}",
        "dockerd",
        "MiB",
        spread([ours]),
        spread([theirs]),
        spread([ours / theirs]),
        (at_most("ratio", ours / theirs, 1 / 3),),
    )


def _kept(arena: Arena, before: set[int]) -> set[int]:
    """Return what runs since then, but for shims; a plugin is in a cgroup of its own."""
    new = arena.meter.pids() - before
    return {pid for pid in new if not psutil.Process(pid).name().startswith("containerd-shim")}


@contextmanager
def _kept_by_command(arena: Arena, bundle: Path) -> Iterator[None]:
    def pluginexec(*arguments: str) -> None:
        script = str(Path(sys.executable).with_name("pluginexec"))
        chosen = ["--root", str(arena.directory / "commanded"), "--address", arena.containerd.address]
        subprocess.run([script, *chosen, "plugin", *arguments], check=True, capture_output=True, timeout=_LIMIT)

    name = arena.new_id()
    pluginexec("create", name, str(bundle))
    try:
        pluginexec("enable", name)
        yield
    finally:
        pluginexec("rm", "-f", name)


@contextmanager
def _kept_enabled(arena: Arena, bundle: Path) -> Iterator[subprocess.Popen[str]]:
    root = arena.directory / "manager"
    argv = [sys.executable, "-m", "tests.bench.manager", arena.containerd.address, str(root), str(bundle)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()
    assert process.returncode == 0


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begun)
