"""Fields of the OCI runtime spec that an older ``ctr`` does not know: it leaves them out, and says nothing.

``ctr`` reads a spec into the structures of its own version. Of a spec with every field, the oldest ``ctr`` that was
tested passes on all but these; a plugin then runs without what they ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIELDS = (
    *("process.scheduler", "process.ioPriority", "process.execCPUAffinity"),
    *("linux.netDevices", "linux.memoryPolicy", "linux.timeOffsets"),
    *("linux.intelRdt.schemata", "linux.intelRdt.enableMonitoring"),
)


def recent_fields(spec: Mapping[str, Any]) -> list[str]:
    """Return which of these fields a spec has."""
    return [field for field in _FIELDS if _has(spec, field)]


def _has(spec: Mapping[str, Any], field: str) -> bool:
    value: Any = spec
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value is not None
