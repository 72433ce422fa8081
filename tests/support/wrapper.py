"""A ``ctr`` that passes everything on to the real one, except where it is told to misbehave."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pluginexec.containerd.ctr import Completed, Subprocesses, Watch

# Behind the binary come six arguments that are always there; then the command, and in the end the id, if any.
SCRIPT = """\
#!/bin/sh
here='{here}'
case $7 in tasks|containers|namespaces) command=$7-$8 ;; *) command=$7 ;; esac
for last; do :; done
for fault in "$here/faults/$command" "$here/faults/$command@$last"; do
    if [ -f "$fault" ]; then . "$fault"; fi
done
exec "$here/real" "$@"
"""


class Impatient(Subprocesses):
    """Runs real commands, but waits for some no longer than told; remembers how long it was to wait."""

    def __init__(self) -> None:
        self.limits: dict[str, float] = {}
        """Seconds by command, as ``Wrapper.inject`` names it."""
        self.asked: list[tuple[str, float]] = []

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        """Run, with our own limit."""
        words = argv[7:]  # behind the binary and the flags that are always there
        command = "-".join(words[:2] if words and words[0] in ("tasks", "containers") else words[:1])
        self.asked.append((command, timeout))
        limits = (self.limits.get(name, timeout) for name in (command, f"{command}@{argv[-1]}"))
        return super().run(argv, min(timeout, *limits), watch)


class Wrapper:
    """The wrapper, in a directory of its own; a fault is a piece of shell, run in place of a command.

    What the piece does not end goes on to the real ``ctr``, which it can call itself, as ``"$here/real" "$@"``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "ctr"
        self.runner = Impatient()
        self._faults = directory / "faults"
        self._faults.mkdir(parents=True)
        self._whole = SCRIPT.format(here=directory)
        real = shutil.which("ctr")
        assert real
        self.use(Path(real))
        self.repair()

    def use(self, real: Path) -> None:
        """Pass on to another ``ctr`` from now on."""
        new = self.directory / "real.new"
        new.symlink_to(real)
        new.replace(self.directory / "real")

    def inject(self, command: str, fault: str, limit: float | None = None) -> None:
        """Have ``command`` misbehave from now on, and the runner wait ``limit`` seconds for it.

        Names are such as ``tasks-ls``, and ``tasks-kill@ID`` where only that id is meant.
        """
        if limit:
            self.runner.limits[command] = limit
        new = self.directory / "fault.new"
        new.write_text(fault + "\n")
        new.replace(self._faults / command)

    def heal(self) -> None:
        """Have everything passed on again."""
        for fault in self._faults.iterdir():
            fault.unlink()
        self.runner.limits.clear()

    def replace(self, content: bytes, mode: int = 0o755) -> None:
        """Replace the wrapper itself in one step, as package managers do."""
        self.remove()
        new = self.directory / "ctr.new"
        new.write_bytes(content)
        new.chmod(mode)
        new.replace(self.path)

    def remove(self) -> None:
        """Take the wrapper away."""
        if self.path.is_dir():
            self.path.rmdir()
        self.path.unlink(missing_ok=True)

    def repair(self) -> None:
        """Put the wrapper back, whole."""
        self.replace(self._whole.encode())
