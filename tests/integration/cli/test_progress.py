"""The line that shows that long work goes on.

Real: the command line with a probe as its command, on a pseudo-terminal and in pipes.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.probe import environment, finished, on_terminal, probe, shown_at_the_end

ERASE = "\r\x1b[K"
WAITING = """
    import sys, threading
    from pluginexec.cli.progress import progress
    with progress("working \\x1b[1m on it"):
        sys.stdin.buffer.read(1)
        {more}
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
"""


def shown_while_it_waits(more: str) -> tuple[int, str]:
    """Return the exit code and all that came to the terminal; the work goes on once its line is there."""
    with on_terminal(probe(WAITING.format(more=more)), stdin=subprocess.PIPE) as terminal:
        terminal.wait_for("working \\x1b[1m on it (0 s)")
        assert terminal.process.stdin
        terminal.process.stdin.write(b"x")
        terminal.process.stdin.close()
    return terminal.process.returncode, terminal.text


def test_on_a_terminal_a_line_shows_the_work_and_is_erased_at_its_end() -> None:
    code, text = shown_while_it_waits("")
    assert code == 0
    assert text.startswith(ERASE)
    assert shown_at_the_end(text) == ""


def test_the_line_is_erased_before_the_error_is_printed() -> None:
    code, text = shown_while_it_waits("raise click.UsageError('enough')")
    assert code == 125
    assert shown_at_the_end(text).replace("\x1b[31mpluginexec:\x1b[0m", "pluginexec:").splitlines() == [
        "pluginexec: probe: enough; see 'pluginexec probe --help'",
    ]


def test_the_line_is_erased_when_the_work_is_interrupted() -> None:
    code, text = shown_while_it_waits("raise KeyboardInterrupt")
    assert (code, shown_at_the_end(text)) == (130, "")


def test_a_line_of_the_log_is_not_mixed_with_it() -> None:
    code, text = shown_while_it_waits("import logging; logging.getLogger('pluginexec.x').warning('beware')")
    assert (code, shown_at_the_end(text)) == (0, "pluginexec: beware\n")


AT_ONCE = """
    import threading
    from pluginexec.cli import progress
    progress._DELAY = 0
    with progress.progress("working"):
        print([thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize("term", ["xterm", "dumb", ""])
def test_where_stderr_is_no_terminal_there_is_no_line(term: str) -> None:
    assert finished(probe(AT_ONCE), environment(TERM=term)) == (0, "['MainThread']\n", "")


def test_a_dumb_terminal_gets_no_line() -> None:
    with on_terminal(probe(AT_ONCE), environment(TERM="dumb")) as terminal:
        pass
    assert terminal.text == "['MainThread']\r\n"


def test_short_work_shows_nothing() -> None:
    body = """
        from pluginexec.cli import progress
        progress._DELAY = 1000
        with progress.progress("working"):
            pass
    """
    with on_terminal(probe(body)) as terminal:
        pass
    assert (terminal.process.returncode, terminal.text) == (0, "")


def test_where_no_thread_can_be_had_the_work_is_done_all_the_same() -> None:
    body = """
        import threading
        from pluginexec.cli.progress import progress
        def start(thread):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = start
        with progress("working"):
            print("done")
    """
    with on_terminal(probe(body)) as terminal:
        pass
    assert (terminal.process.returncode, terminal.text) == (0, "done\r\n")


def test_a_line_is_cut_where_it_would_wrap() -> None:
    body = """
        import os, sys
        from pluginexec.cli import progress
        os.get_terminal_size = lambda descriptor: os.terminal_size((20, 24))
        with progress.progress("working " * 20):
            sys.stdin.buffer.read(1)
    """
    with on_terminal(probe(body), stdin=subprocess.PIPE) as terminal:
        terminal.wait_for("working")
        assert terminal.process.stdin
        os.write(terminal.process.stdin.fileno(), b"x")
        terminal.process.stdin.close()
    assert max(map(len, terminal.text.split(ERASE))) == 19
