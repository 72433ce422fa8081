"""Tables on a terminal, in a pipe and on a full disk. Real: the process and its stdout."""

from __future__ import annotations

import pytest

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
