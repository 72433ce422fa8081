"""What processes hold of the memory."""

from __future__ import annotations

import re
from pathlib import Path

PSS = "Pss"
"""In which what several processes share is counted once, in shares."""
RSS = "Rss"
"""In which it is counted whole for each: right for one that nothing else of its kind runs beside."""
ANONYMOUS = "Anonymous"
"""Without what is only a copy of files, and could be dropped."""


def held(kind: str, *pids: int) -> float:
    """Return the MiB that some processes hold together."""
    return sum(_held(kind, pid) for pid in pids)


def _held(kind: str, pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(rf"^{kind}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, text
    return int(found[1]) / 1024
