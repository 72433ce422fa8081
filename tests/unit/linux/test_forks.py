"""Forks, and what must not happen in the middle of one. Real: the forks, in processes of their own, and the threads."""

from __future__ import annotations

import subprocess
import sys

from tests.support.harness import PATIENCE
from tests.support.probe import environment


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE, check=False, env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_fork_waits_for_commands_that_are_being_started_and_they_for_it() -> None:
    printed = run("""
import os, threading
from pluginexec.linux import forks
from pluginexec.linux.forks import spawning

forks._SPAWN_TIMEOUT = 60.0

begun, go_on, said = threading.Event(), threading.Event(), []

def spawn():
    with spawning:
        begun.set()
        go_on.wait()
        said.append("spawned")

spawner = threading.Thread(target=spawn)
spawner.start()
begun.wait()
with spawning:  # side by side
    pass
threading.Timer(0.1, go_on.set).start()
child = os.fork()
if child == 0:
    with spawning:  # its own
        os._exit(0)
said.append("forked")
spawner.join()
assert os.waitpid(child, 0)[1] == 0
with spawning:
    print(*said)
""")
    assert printed == "spawned forked\n"


def test_a_fork_in_the_middle_of_a_start_does_not_wait_for_ever() -> None:
    run("""
import os
from pluginexec.linux.forks import spawning
with spawning:  # as a signal's handler finds it
    if os.fork() == 0:
        os._exit(0)
    os.wait()
""")


def test_an_object_knows_the_process_that_made_it() -> None:
    printed = run("""
import os
from pluginexec import FailedPrecondition
from pluginexec.linux.forks import Maker
maker = Maker()
maker.check()
if os.fork() == 0:
    try:
        maker.check()
    except FailedPrecondition as error:
        print(error, maker.is_this_process(), flush=True)
    os._exit(0)
os.wait()
assert maker.is_this_process()
""")
    assert "from which this one was forked" in printed
    assert printed.endswith("False\n")
