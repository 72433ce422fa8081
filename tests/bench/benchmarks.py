"""All benchmarks by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench import asking, beginning, confined, crowds, dockers, lives, relaying, resting, storms, talking
from tests.bench.arena import Arena
from tests.bench.effort import Effort
from tests.bench.rows import Measured

DOCKERD = "dockerd"
"""The one that fetches dockerd."""

BENCHMARKS: dict[str, Callable[[Arena, Effort], Measured]] = {
    "lives": lives.quiet,
    "relayed-lives": lives.relayed,
    "confined": confined.confined,
    "is-running": asking.is_running,
    "hash": relaying.to_a_hash,
    "file": relaying.to_a_file,
    "lines": talking.small_lines,
    "memory": resting.memory,
    "crowd": crowds.crowd,
    "events": storms.exec_events,
    "start-up": beginning.start_up,
    DOCKERD: dockers.managed,
    "growing-crowd": crowds.growing,
    "growing-bytes": relaying.growing,
}
