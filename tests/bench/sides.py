"""Who competes: the executor, and the gRPC peer, each behind the same few words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pluginexec import Writer
from tests.bench.arena import Arena, Ends
from tests.bench.grpcpeer import GrpcPeer


class Side(Protocol):
    """One that runs plugins."""

    ends: Ends

    def create(self, id: str, spec: dict[str, Any], stdout: Writer | None, stderr: Writer | None) -> int:
        """Create a plugin, and return its pid when it runs."""

    def is_running(self, id: str) -> bool:
        """Tell whether it runs."""


class Ours:
    """The executor."""

    def __init__(self, arena: Arena) -> None:
        self._executor = arena.executor
        self.ends = arena.ends
        self.is_running = arena.executor.is_running

    def create(self, id: str, spec: dict[str, Any], stdout: Writer | None, stderr: Writer | None) -> int:
        """Create a plugin."""
        self._executor.create(id, spec, stdout, stderr)
        return self._executor.pid(id)


class Grpc:
    """The peer."""

    def __init__(self, peer: GrpcPeer, ends: Ends) -> None:
        self.ends = ends
        self.create = peer.create
        self.is_running = peer.get


@contextmanager
def both(arena: Arena) -> Iterator[tuple[Side, Side]]:
    """Give both sides."""
    ends = Ends()
    peer = GrpcPeer(arena.containerd.address, arena.directory / "grpc", ends)
    try:
        yield Ours(arena), Grpc(peer, ends)
    finally:
        peer.close()


class Counter:
    """A writer that counts bytes and closings."""

    def __init__(self) -> None:
        self.count = 0
        self.closed = threading.Event()
        self._grown = threading.Condition()

    def write(self, data: bytes, /) -> int | None:
        """Count."""
        with self._grown:
            self.count += len(data)
            self._grown.notify_all()
        return None

    def close(self) -> None:
        """Count: once."""
        assert not self.closed.is_set()
        self.closed.set()

    def wait(self, count: int) -> None:
        """Wait until there are so many bytes, and see that there are no more."""
        with self._grown:
            assert self._grown.wait_for(lambda: self.count >= count, timeout=60), f"{self.count} of {count} bytes"
            assert self.count == count
