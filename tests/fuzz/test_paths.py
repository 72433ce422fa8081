"""Paths of sinks and roots, as hypothesis and the mutator make them: to the logger's shell each is a word.

Real: ``/bin/sh``, which splits the words of the paths, and runs the loggers of some, beside a canary.
"""

from __future__ import annotations

import os
import random
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginexec import PluginExecError
from pluginexec.root.root import Root
from pluginexec.streams.shell_logger import logger_arguments, redirect_to_fifo, redirect_to_file
from pluginexec.streams.streams import Streams
from tests.fuzz.cases import CASES, answer, feed, many, pieced
from tests.fuzz.mutator import Mutator
from tests.support.harness import Buffer
from tests.unit.streams.test_shell_logger import take_apart

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(300)]

RUN = 200
"""How many loggers are really run."""
CANARY = "canary"
HOSTILE = [
    *("plain", f"$(touch {CANARY})", f"`touch {CANARY}`", f"'; touch {CANARY}; '", f'"; touch {CANARY}; "'),
    *(f"\n touch {CANARY}\n", f"x & touch {CANARY} &", f"x | touch {CANARY}", f"> {CANARY}", f">{CANARY}", "-n", "a b"),
    *(
        f"'$(touch {CANARY})'",
        f"\\'; touch {CANARY} #",
        f"x' >&2; touch {CANARY}; echo 'x",
        "%27; %24(x)",
        "&-c=x",
        "#",
    ),
    *("{stdout}", "{0}", "${IFS}", "~", "*", "\\", "'", "''", "!!", "<&3", "\r", "\t", "é", "漢", "=", "+"),
]
CORPUS = [text.encode() for text in HOSTILE]
names = st.one_of(pieced(HOSTILE, 4), st.text(max_size=20))


def file_name(text: str) -> str:
    """Return the text as the name of one file, so that it leads nowhere else."""
    name = text.replace("/", "_").replace("\0", "_").encode(errors="replace").decode()[:80]
    return f"_{name}" if name in ("", ".", "..") else name


def script_of(sink: str, root: str) -> str:
    """Return the script that a logger gets, for a plugin of that root with a writer and that sink."""
    arguments = logger_arguments(
        redirect_to_fifo(Path(root) / "stdout"), redirect_to_file(sink), Path(root) / "attached"
    )
    shell, flag, script = take_apart(arguments)
    assert (shell, flag) == ("/bin/sh", "-c")
    return script


PLAIN = shlex.split(script_of("/SINK", "/ROOT"))


def check_script(name: str) -> None:
    """Check that the script has the words of a plain one, with the path in its place, whole."""
    sink, root = f"/s/{name}", f"/r/{name}"
    words = [word.replace("/SINK", sink).replace("/ROOT", root) for word in PLAIN]
    assert shlex.split(script_of(sink, root)) == words


@many
@given(names)
def test_whatever_a_path_holds_it_is_one_word_of_the_loggers_script(text: str) -> None:
    check_script(file_name(text))


def test_whatever_befell_a_path_it_is_one_word_of_the_loggers_script(dice: random.Random) -> None:
    feed(dice, CORPUS, lambda case: check_script(file_name(case.decode(errors="surrogateescape"))))


def test_a_real_shell_takes_each_path_for_one_word(dice: random.Random, tmp_path: Path) -> None:
    paths = [f"/s/{file_name(case.decode(errors='replace'))}" for case in Mutator(dice, CORPUS).cases(CASES)]
    quoted = [redirect_to_file(path).removeprefix(">>") for path in paths]
    script = tmp_path / "words"
    script.write_text("".join(f"printf '%s\\0' {word}\n" for word in quoted), newline="")
    done = subprocess.run(["/bin/sh", script], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().split("\0")[:-1] == paths
    assert done.stderr == b""
    assert os.listdir(tmp_path) == ["words"], "a canary sings"


def run_as_the_shim_does(argv: Sequence[str], cwd: Path) -> None:
    """Run a logger whose plugin says nothing: its descriptors 3 to 5 are ``/dev/null``."""
    opened = 'exec 3</dev/null 4</dev/null 5>/dev/null; exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", opened, "sh", *argv], cwd=cwd, capture_output=True, timeout=60, env={}, check=False
    )
    assert done.returncode == 0
    # Nobody is to read what it printed: the lock file is gone.
    assert done.stderr.endswith(b"/attached: No such file\n")


def test_no_path_makes_a_logger_run_anything_else(dice: random.Random, tmp_path: Path) -> None:
    cwd = tmp_path / "bundle"
    cwd.mkdir()
    for case in Mutator(dice, CORPUS).cases(RUN):
        name = file_name(case.decode(errors="replace"))
        root = Root(tmp_path / "roots" / name)
        files = root.plugin("p")
        files.make({})
        sink = tmp_path / f"sink {name}"
        streams = answer(lambda files=files, sink=sink: Streams.create(files, Buffer(), sink))  # type: ignore[misc]
        assert not isinstance(streams, PluginExecError)
        streams.discard()
        files.attached.unlink()  # so that the logger waits for no reader
        sink.unlink()
        run_as_the_shim_does(take_apart(streams.arguments), cwd)
        assert sink.is_file(), "it appends to that file and no other"
        assert not os.listdir(cwd), f"a canary sings: {name!r}"
        root.close()
        files.remove()
