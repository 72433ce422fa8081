"""The command line in processes of its own: as it is, and with a command ``probe`` that does what a test wants."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import sysconfig
import textwrap
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.harness import PATIENCE, wait_until

SCRIPT = Path(sysconfig.get_path("scripts")) / "pluginexec"
"""The installed console script."""
REPOSITORY = Path(__file__).parents[2]

_PROBE = """
import sys, types
import click
from pluginexec.cli import group, main

@click.command(name="probe")
@click.pass_obj
def command(settings):
{body}

module = sys.modules["pluginexec.cli.commands.probe"] = types.ModuleType("pluginexec.cli.commands.probe")
module.command = command
group.COMMANDS["probe"] = "Do what a test wants."
main()
"""


def pluginexec(*arguments: object) -> list[str]:
    """Return the argv of a command line, through the console script."""
    return [str(SCRIPT), *_in_one_directory(map(str, arguments))]


def probe(body: str, *globals: object, after: tuple[str, ...] = ()) -> list[str]:
    """Return the argv of a command line whose command ``probe`` runs ``body``."""
    script = _PROBE.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    "))
    return [sys.executable, "-c", script, *_in_one_directory(map(str, globals)), "probe", *after]


def _in_one_directory(arguments: Iterable[str]) -> list[str]:
    """Add ``--state`` where there is only ``--root``, with its value: most tests have one directory for both."""
    words = list(arguments)
    if "--root" in words and "--state" not in words:
        given = words.index("--root")
        words[given:given] = ["--state", words[given + 1]]
    return words


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which nothing chooses for the command line, but for ``changes``."""
    chosen = ("PLUGINEXEC_", "CONTAINERD_ADDRESS", "NO_COLOR", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
    root = changes.get("PLUGINEXEC_ROOT")
    state = {"PLUGINEXEC_STATE": root} if root else {}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **state, **changes}


def finished(argv: list[str], env: dict[str, str] | None = None, **options: Any) -> tuple[int, str, str]:
    """Run to the end, and return the exit code and what was printed to stdout and stderr."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(argv, env=env or environment(), timeout=PATIENCE, text=True, check=False, **(pipes | options))
    return done.returncode, done.stdout or "", done.stderr or ""


class Terminal:
    """A process on a terminal, and all that it has printed there."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._text = b""

    @property
    def text(self) -> str:
        """What was printed so far."""
        return self._text.decode()

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until this was printed."""
        wait_until(lambda: text in self.text, f"{text!r} on the terminal")

    def read(self) -> None:
        """Collect what is printed, until nobody holds the terminal any more."""
        with suppress(OSError):
            while data := os.read(self._master, 65536):
                self._text += data


@contextmanager
def on_terminal(argv: list[str], env: dict[str, str] | None = None, **options: Any) -> Iterator[Terminal]:
    """Run a process on a terminal, where ``options`` do not say otherwise; wait for its end in the end."""
    master, slave = pty.openpty()
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    env = environment(TERM="xterm") if env is None else env
    process = subprocess.Popen(argv, env=env, start_new_session=True, **(streams | options))
    os.close(slave)
    terminal = Terminal(process, master)
    reader = threading.Thread(target=terminal.read)
    reader.start()
    try:
        yield terminal
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
        with process:
            pass
        reader.join(PATIENCE)
        os.close(master)


def shown_at_the_end(text: str) -> str:
    """Return what a terminal shows after lines were drawn and erased."""
    screen = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        screen += line.rpartition("\r\x1b[K")[2] + "\n"
    return screen.removesuffix("\n")
