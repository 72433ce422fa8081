"""Row: what containerd's default seccomp profile costs a create: runc compiles it, and the kernel loads it."""

from __future__ import annotations

import time
from typing import Any

from pluginexec.host.seccomp import default_seccomp
from pluginexec.oci.options.security import bounding
from pluginexec.root.layout import Layout
from tests.bench.arena import Arena, kill
from tests.bench.effort import Effort
from tests.bench.rows import Measured, against_peer
from tests.bench.sides import Ours, Side
from tests.bench.spread import alternate

_MOST = 1.5
"""15 to 25 ms of 55."""


def confined(arena: Arena, effort: Effort) -> Measured:
    """Create the same plugin with the profile, as ``pluginexec run --rootfs`` does, and without."""
    spec = arena.spec("profile")
    layout = Layout(arena.directory / "root", arena.directory / "state")
    profile = default_seccomp(arena.containerd.remote, spec["root"]["path"], bounding(spec), layout)
    assert profile is not None, "there is no seccomp here"
    side = Ours(arena)
    own, other = alternate(
        effort.rounds, lambda: _create(arena, side, {"seccomp": profile}), lambda: _create(arena, side, {})
    )
    row = against_peer(
        "create until it runs, with containerd's seccomp profile", "the same without", "ms", own, other, most=_MOST
    )
    return Measured((row,))


def _create(arena: Arena, side: Side, linux: dict[str, Any]) -> float:
    id = arena.new_id()
    spec = arena.spec(id)
    spec["linux"].update(linux)
    begun = time.perf_counter()
    pid = side.create(id, spec, None, None)
    ran = time.perf_counter()
    kill(pid)
    side.ends.wait(id)
    return 1e3 * (ran - begun)
