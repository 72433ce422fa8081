"""The commands on a terminal, driven by keys.

Real: a tmux with a shell in it, the console script, containerd, the plugins. What a person types is typed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec import Containerd
from pluginexec.host.records import Records, is_alive
from tests.integration.cli.conftest import Px
from tests.support.harness import wait_until
from tests.support.layouts import one_directory
from tests.support.probe import SCRIPT, environment
from tests.support.tmux import Terminal

TICK = "while :; do sleep 0.05; done"
Detached = Callable[..., str]


@pytest.fixture
def terminal(clean_namespace: None, containerd: Containerd, root_dir: Path) -> Iterator[Terminal]:
    """A terminal whose shell knows the command, the test's root and its containerd."""
    env = environment(
        PATH=f"{SCRIPT.parent}:{os.environ['PATH']}",
        PLUGINEXEC_ROOT=str(root_dir),
        PLUGINEXEC_ADDRESS=containerd.address,
    )
    with tempfile.TemporaryDirectory() as directory, Terminal(Path(directory), env) as terminal:
        yield terminal


def test_ctrl_c_goes_to_the_plugin_of_run_and_its_code_is_the_commands(terminal: Terminal, rootfs: Path) -> None:
    # "is up" is not part of the typed line, which the terminal may wrap anywhere.
    script = f"trap 'echo got it; exit 9' INT; echo is'' up; {TICK}"
    terminal.type(f'pluginexec run --rm --rootfs {rootfs} -- sh -c "{script}"; echo code $?')
    terminal.wait_for("is up")
    terminal.press("C-c")
    screen = terminal.wait_for("\ncode ")
    assert "\ngot it\ncode 9" in screen
    assert "Traceback" not in screen


def test_logs_follow_shows_lines_as_they_come_and_ctrl_c_leaves_the_plugin_alone(
    terminal: Terminal, detached: Detached, root_dir: Path
) -> None:
    id = detached("n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done")
    terminal.type(f"pluginexec logs -f {id}; echo code $?")
    terminal.wait_for("\nline 3\n")
    terminal.wait_for("\nline 12\n")
    terminal.press("C-c")
    screen = terminal.wait_for("\ncode ")
    assert "\ncode 130" in screen
    assert "Traceback" not in screen
    assert is_alive(Records(one_directory(root_dir)).state(id))


def test_logs_follow_ends_with_the_plugin(terminal: Terminal, detached: Detached, px: Px) -> None:
    id = detached(f"trap 'printf last; exit 3' TERM; echo up; {TICK}")
    terminal.type(f"pluginexec logs -f {id}; echo; echo code $?")
    terminal.wait_for("\nup")
    px("stop", id)
    assert "\nlast\ncode 0" in terminal.wait_for("\ncode ")


def test_stats_are_drawn_in_place_until_ctrl_c_which_gives_the_cursor_back(
    terminal: Terminal, detached: Detached
) -> None:
    id = detached(TICK)
    terminal.type("clear; pluginexec stats; echo code $?")
    terminal.wait_for(id)
    first = terminal.screen()
    wait_until(lambda: terminal.screen() != first, "another drawing")
    wait_until(lambda: terminal.screen().count("CPU %") == 1, "one table")
    assert terminal.screen().count(id) == 1
    terminal.press("C-c")
    screen = terminal.wait_for("\ncode ")
    assert "\ncode 130" in screen
    assert terminal.cursor_is_shown()
    assert "Traceback" not in screen


def test_long_work_shows_progress_that_is_gone_when_it_is_done(terminal: Terminal, detached: Detached, px: Px) -> None:
    id = detached(f"trap '' TERM; echo up; {TICK}")
    wait_until(lambda: px("logs", id).lines == ["up"], "the trap")
    terminal.type(f"clear; pluginexec stop -t 2 {id}; echo code $?")
    terminal.wait_for(f"stopping {id} (1 s)")
    screen = terminal.wait_for("\ncode 0")
    assert f"stopping {id} (" not in screen
    assert f"{id}\ncode 0" in screen


def test_exec_gives_a_shell_to_type_in(terminal: Terminal, detached: Detached) -> None:
    id = detached(TICK)
    terminal.type(f"clear; pluginexec exec -it {id} sh; echo code $?")
    terminal.wait_for("/ #")
    terminal.type("stty size; tty; exit 6")
    screen = terminal.wait_for("\ncode 6")
    assert "30 100" in screen
    assert "/dev/pts/" in screen


@pytest.mark.parametrize(("setting", "coloured"), [("", True), ("NO_COLOR=1 ", False), ("TERM=dumb ", False)])
def test_colour_is_for_terminals_that_want_it(
    terminal: Terminal, detached: Detached, setting: str, coloured: bool
) -> None:
    detached(TICK)
    terminal.type(f"clear; {setting}pluginexec ps; echo code $?")
    terminal.wait_for("\ncode 0")
    assert ("\x1b[32m" in terminal.screen(escapes=True)) is coloured
