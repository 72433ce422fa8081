"""A guard: where it stands, what stands there without it, and which test then fails, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Guard:
    """One guard: with ``old`` replaced by ``new`` the test fails, and its failure matches ``says``."""

    name: str
    file: str
    old: str
    new: str
    test: str
    says: str
    leaves: str = ""
    """Why the test cannot clean up without the guard, where it cannot."""

    def take_out(self, tree: Path) -> None:
        """Take it out of a copy of the tree; ``AssertionError`` unless it is there exactly once."""
        path = tree / "pluginexec" / self.file
        text = path.read_text(encoding="utf-8")
        found = text.count(self.old)
        assert found == 1, f"pluginexec/{self.file} has {self.old!r} {found} times: tell the control where the guard is"
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
