"""Random plugins, and what must come out of each."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pluginexec import JsonFile, default_spec
from pluginexec.streams.relay import CHUNK
from pluginexec.streams.sinks import Sink
from tests.support.bytemodel import gaps, numbered
from tests.support.harness import Buffer

LONGEST_OUTPUT = 30_000
_JSON = 0.25
NAMES = ("stdout", "stderr")


@dataclass(frozen=True)
class Plan:
    """What a plugin does."""

    kind: str
    script: str
    codes: frozenset[int | None]
    lines: int = 0
    last: bytes = b""
    """What it prints behind its lines; both on both streams."""
    ending: str = "itself"
    """``itself``, or the signal that ends it."""
    shares_pids: bool = False
    """Without a pid namespace, where a signal ends an init process as any other."""
    fails: bool = False
    """Its executable is not there."""
    runs: float = 0.0
    """Seconds that it runs at least, unless something ends it."""
    is_oom: bool = False
    """Whether it, or its child, takes more memory than it may."""

    @property
    def output(self) -> bytes:
        """What it prints on each stream."""
        return (numbered(self.lines) if self.lines else b"") + self.last

    def spec(self, rootfs: Path, id: str) -> dict[str, Any]:
        """Return its spec."""
        spec = default_spec(rootfs, ["/no/such/executable"] if self.fails else ["sh", "-c", self.script], id=id)
        if self.shares_pids:
            spec["linux"]["namespaces"].remove({"type": "pid"})
        if self.is_oom:
            spec["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
        return spec


def _prints(lines: int) -> str:
    return f"seq -w 1 {lines} & seq -w 1 {lines} >&2; wait; " if lines else ""


def new_plan(dice: random.Random) -> Plan:
    """Throw a plan."""
    code = dice.randrange(256)
    codes = frozenset({code})
    lines = dice.choice([0, 1, dice.randrange(2, 1000), dice.randrange(1000, LONGEST_OUTPUT)])
    says = _prints(lines)
    life = dice.uniform(0, 3)
    number = dice.choice([6, 9, 11, 15])
    plans = [
        Plan("short", f"exit {code}", codes),
        Plan("talks", f"{says}exit {code}", codes, lines),
        Plan("talks late", f"sleep {life:.2f}; {says}exit {code}", codes, lines, runs=life),
        Plan("is silent", f"sleep {life:.2f}; exit {code}", codes, runs=life),
        Plan(
            "forks",
            f"{says}sleep 1000 & sh -c 'sleep 999 & sleep 1000' & sleep {life:.2f}; exit {code}",
            codes,
            lines,
            runs=life,
        ),
        Plan("is out of memory", "exec tail /dev/zero", frozenset({137}), is_oom=True),
        Plan(
            "has a child out of memory",
            f"sleep {life:.2f}; sh -c 'tail /dev/zero; :' 2>/dev/null; exit {code}",
            codes,
            is_oom=True,
        ),
        Plan(
            "stays",
            f"trap 'echo end; echo end >&2; exit {code}' TERM; {says}while :; do sleep 0.05; done",
            codes,
            lines,
            b"end\n",
            "TERM",
        ),
        Plan("ignores TERM", f"trap '' TERM; {says}while :; do sleep 1; done", frozenset({137}), lines, ending="KILL"),
        Plan(
            "dies by a signal",
            f"{says}kill -{number} $$; sleep 1000",
            frozenset({128 + number}),
            lines,
            shares_pids=True,
        ),
        Plan("cannot start", "", frozenset(), fails=True),
    ]
    return dice.choice(plans)


class Slow(Buffer):
    """A writer that takes its time."""

    def write(self, data: bytes, /) -> int | None:
        """Sleep, then keep."""
        time.sleep(0.2)
        return super().write(data)


class Broken(Buffer):
    """A writer that fails after its first chunk."""

    def write(self, data: bytes, /) -> int | None:
        """Keep once."""
        if self.data:
            raise OSError("broken on purpose")
        return super().write(data)


SINKS: dict[str, Callable[[], Buffer] | None] = {
    "writer": Buffer,
    "slow writer": Slow,
    "broken writer": Broken,
    "path": None,
    "none": None,
}
JSON_FILE = "json-file"
"""The sink of both streams, or of none."""


def new_kinds(dice: random.Random) -> tuple[str, str]:
    """Throw the kinds of sinks for both streams."""
    kinds = (dice.choice(list(SINKS)), dice.choice(list(SINKS)))
    return (JSON_FILE, JSON_FILE) if dice.random() < _JSON else kinds


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(eq=False)
class Life:
    """One life of a plugin: what was done to it, and what came out."""

    id: str
    number: int
    plan: Plan
    kinds: tuple[str, str]
    """Of its sinks."""
    directory: Path
    restarts: bool
    """Whether the exit handler starts the next."""
    codes: set[int | None] = field(init=False)
    """The exit codes that are right."""
    state: str = "starting"
    """Then ``running`` or ``failed``."""
    started: threading.Event = field(default_factory=threading.Event)
    """Set when its ``create`` has returned."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when its exit is known."""
    deaths: int = 0
    """How often a process that relayed it was killed."""
    containerd_died: bool = False
    """Whether containerd was killed in its time: 1.7 and later then forget a task that has ended, and its code."""
    unwatched: bool = False
    """Whether containerd died in its time, and there was a time when no executor held its process."""
    begun_at: datetime = field(default_factory=_now)
    seen_at: datetime | None = None
    """When the soak itself saw its end, if it could hold its process."""
    cut: bool = False
    """Whether it was killed, and may have had more to say."""
    history: list[tuple[float, str]] = field(default_factory=list)
    _parts: dict[str, list[Buffer | Path]] = field(default_factory=lambda: {name: [] for name in NAMES})

    def __post_init__(self) -> None:
        self.codes = set(self.plan.codes)
        self.note(f"{self.plan.kind}: {self.plan.script[:200]!r}, sinks {self.kinds}")

    def note(self, what: str) -> None:
        """Keep in mind what happened, and when."""
        self.history.append((time.monotonic(), what))

    @property
    def has_logger(self) -> bool:
        """Whether its logger records its end, whatever becomes of executor and containerd."""
        return JSON_FILE in self.kinds

    def new_sinks(self) -> list[Sink]:
        """Return sinks for a create or a restore: what they get follows what the last ones got."""
        if self.has_logger:
            return [JsonFile(self._path("log"), -1, 1)] * 2
        return [self._new_sink(name, kind) for name, kind in zip(NAMES, self.kinds, strict=True)]

    def _new_sink(self, name: str, kind: str) -> Sink:
        new = SINKS[kind]
        if new:
            self._parts[name].append(buffer := new())
            return buffer
        return self._path(name) if kind == "path" else None

    def foreign_sinks(self) -> list[list[Any] | None]:
        """Describe sinks for a worker: files, in which its bytes can be found when it is dead."""
        described: list[list[Any] | None] = []
        for name, kind in zip(NAMES, self.kinds, strict=True):
            if SINKS.get(kind):
                path = self.directory / f"{self.id}-{self.number}-{name}-{len(self._parts[name])}"
                path.touch()
                self._parts[name].append(path)
                described.append(["writer", str(path), 0.0])
            else:
                described.append(["path", str(self._path(name))] if kind == "path" else None)
        return described

    def _path(self, name: str) -> Path:
        return self.directory / f"{self.id}-{self.number}-{name}"

    def bytes_lost(self) -> int:
        """Return how many bytes are missing, or are there and should not be."""
        return sum(self._lost(name, kind) for name, kind in zip(NAMES, self.kinds, strict=True))

    def _lost(self, name: str, kind: str) -> int:
        if kind == "none":
            return 0
        data = self._data(name, kind)
        expected = self.plan.output
        if kind == "broken writer":
            return 0 if self.deaths or expected.startswith(data) or len(self._parts[name]) > 1 else len(data)
        try:
            missing = gaps(expected, data)
        except ValueError as error:
            self.note(f"{name}: {error}")
            return len(data)
        if self.cut and missing and not expected.endswith(data[-64:] or b"?"):
            missing.pop()
        allowed = CHUNK * self.deaths if kind not in ("path", JSON_FILE) else 0
        return max(0, sum(missing) - allowed)

    def _data(self, name: str, kind: str) -> bytes:
        if kind == "path":
            return self._path(name).read_bytes() if self._path(name).exists() else b""
        if kind == JSON_FILE:
            entries = map(json.loads, self._path("log").read_bytes().splitlines())
            return "".join(entry["log"] for entry in entries if entry["stream"] == name).encode()
        return b"".join(part.read_bytes() if isinstance(part, Path) else part.data for part in self._parts[name])

    def closings(self) -> int:
        """Return how often writers were closed."""
        return sum(buffer.closings for buffer in self._buffers())

    def unclosed(self) -> int:
        """Return how many writers were not closed exactly once."""
        return sum(buffer.closings != 1 for buffer in self._buffers())

    def _buffers(self) -> list[Buffer]:
        return [part for parts in self._parts.values() for part in parts if isinstance(part, Buffer)]

    def forget_unused_sinks(self) -> None:
        """Forget the writers of a restore that failed before they were used."""
        for name, parts in self._parts.items():
            self._parts[name] = [part for part in parts if isinstance(part, Path) or part.data or part.closings]

    def forget_output(self) -> None:
        """Free what it printed."""
        for name, parts in self._parts.items():
            for path in (self._path(name), *(part for part in parts if isinstance(part, Path))):
                path.unlink(missing_ok=True)
            parts.clear()
        self._path("log").unlink(missing_ok=True)
