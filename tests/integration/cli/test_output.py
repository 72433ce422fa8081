"""Tables on a terminal, in a pipe and on a full disk. Real: the process and its stdout, a plugin and its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Px
from tests.support.probe import environment, finished, on_terminal, probe

PRINT = """
    from pluginexec.cli.output import print_rows
    print_rows([{"id": "a", "status": "Up 1 second"}, {"id": "b", "status": "Created"}], "table",
               [("ID", "id"), ("STATUS", "status")])
"""


@pytest.mark.parametrize(
    ("env", "status"),
    [({}, "\x1b[32mUp 1 second\x1b[0m"), ({"NO_COLOR": "1"}, "Up 1 second"), ({"TERM": "dumb"}, "Up 1 second")],
)
def test_on_a_terminal_the_status_has_colour_unless_it_is_switched_off(env: dict[str, str], status: str) -> None:
    with on_terminal(probe(PRINT), environment(**{"TERM": "xterm", **env})) as terminal:
        pass
    assert terminal.text.splitlines() == ["ID        STATUS", f"a         {status}", "b         Created"]


def test_in_a_pipe_there_is_no_colour() -> None:
    assert finished(probe(PRINT), environment(TERM="xterm"))[1].splitlines()[1] == "a         Up 1 second"


def test_rows_on_a_full_disk_are_an_error_that_names_stdout() -> None:
    with open("/dev/full", "wb") as full:
        code, _, stderr = finished(probe(PRINT), stdout=full)
    assert (code, stderr) == (125, "pluginexec: cannot write to stdout: No space left on device\n")


def test_every_command_that_prints_says_the_same_of_a_full_disk(
    px: Px, detached: Callable[..., str], rootfs: Path, new_id: Callable[[], str]
) -> None:
    id = detached("echo out; echo err >&2")
    assert px("wait", id).code == 0
    words = (
        *(f"logs {id}", f"logs -f {id}", f"logs -t {id}", f"inspect {id}", f"wait {id}", f"stop {id}", f"restore {id}"),
        *("ps -a", "ps -aq", "info", "daemon status", "events --since 1h --until 0s", "stats --no-stream"),
        *(f"run --rm --name {new_id()} --rootfs {rootfs} echo x", f"rm {id}"),
    )
    said = {}
    with open("/dev/full", "wb") as full:
        for command in words:
            done = px(*command.split(), stdout=full)
            said[command] = (done.code, done.err.decode())
    expected = (125, "pluginexec: cannot write to stdout: No space left on device\n")
    log_of_both = (125, f"err\n{expected[1]}")
    assert {name: result for name, result in said.items() if result not in (expected, log_of_both)} == {}


def test_a_plugin_whose_output_cannot_be_written_keeps_its_log_and_its_exit_code(
    px: Px, rootfs: Path, new_id: Callable[[], str]
) -> None:
    id = new_id()
    with open("/dev/full", "wb") as full:
        command = ["sh", "-c", "echo one; sleep 0.1; echo two; exit 3"]
        done = px("run", "--name", id, "--rootfs", rootfs, "--", *command, stdout=full)
    assert (done.code, done.err) == (3, b"pluginexec: cannot write to stdout: No space left on device\n")
    assert px("logs", id).out == b"one\ntwo\n"
