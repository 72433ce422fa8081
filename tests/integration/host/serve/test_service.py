"""``serve`` on a root: which plugins it takes, what it does when they end, and how it ends itself.

Real here: containerd, the plugins, the locks and the socket of the root. Serve runs on a thread of the tests, and gets
its signals out of the pipe that the command would fill. In some tests a pause is made as long as the test.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor
from pluginexec.errors import FailedPrecondition, InvalidArgument
from pluginexec.host import host as host_module
from pluginexec.host.notify import notify_serve
from pluginexec.host.pause import pause
from pluginexec.host.records import State, is_alive
from pluginexec.host.serve import plugin_supervisor as supervisor
from pluginexec.linux.pidfd import InitProcess
from tests.support.harness import PATIENCE, wait_until
from tests.support.plugins import Plugins
from tests.support.serving import Serving

Serve = Callable[..., Serving]


@pytest.fixture
def serve(plugins: Plugins, root_dir: Path, containerd: Containerd) -> Iterator[Serve]:
    """Start a serve, and wait until it is ready; it ends with the test."""
    started: list[Serving] = []

    def make(**options: Any) -> Serving:
        started.append(Serving(root_dir, containerd.address, **{"stop_timeout": 0.1, **options}))
        started[-1].await_ready()
        return started[-1]

    yield make
    for each in started:
        each.end()


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "pause_before", lambda restarts: 1000.0)


def await_state(plugins: Plugins, id: str, condition: Callable[[State], bool], what: str) -> State:
    wait_until(lambda: condition(plugins.records.state(id)), what)
    return plugins.records.state(id)


def await_free(plugins: Plugins, id: str) -> State:
    """Wait until nobody is at work on a plugin; return its state then."""
    wait_until(lambda: not plugins.records.is_locked(id), "the release of the lock")
    return plugins.records.state(id)


def lives(plugins: Plugins, id: str) -> int:
    """How often a plugin that prints a line was started."""
    return (plugins.records.directory(id) / "stdout.log").read_text().count("\n")


def test_plugins_are_started_again_as_their_policy_says(plugins: Plugins, serve: Serve) -> None:
    serve()
    again = [
        plugins.run(script, restart=policy)
        for policy, script in (("on-failure", "exit 1"), ("always", ":"), ("unless-stopped", ":"))
    ]
    once = [plugins.run(script, restart=policy) for policy, script in (("no", "exit 1"), ("on-failure", ":"))]
    for id in again:
        await_state(plugins, id, lambda state: state.restart_count >= 2, "the second restart")
    for id in once:
        assert await_state(plugins, id, lambda state: state.status == "exited", "its end").restart_count == 0


def test_a_limit_that_is_reached_is_logged_and_written_down_and_the_lock_is_free(
    plugins: Plugins, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    serve()
    id = plugins.run("echo; exit 7", restart="on-failure:2", log_driver="raw")
    state = await_state(plugins, id, lambda state: state.error != "", "the end of all tries")
    assert await_free(plugins, id) == state
    assert (state.status, state.exit_code, state.restart_count) == ("exited", 7, 2)
    assert state.error == "gave up after 2 restarts: exit code 7"
    assert lives(plugins, id) == 3
    assert f"{id}: {state.error}" in [record.getMessage() for record in caplog.records]
    plugins.host.start(id)
    wait_until(lambda: lives(plugins, id) == 6, "as many tries after a start by a person")


def test_a_start_that_fails_counts_as_a_failure_and_is_tried_again(plugins: Plugins, serve: Serve) -> None:
    serve()
    id = plugins.run(restart="on-failure:2")
    spec = plugins.records.spec(id)
    spec["process"]["args"] = ["/nonexistent"]
    (plugins.records.directory(id) / "config.json").write_text(json.dumps(spec))
    os.kill(plugins.records.state(id).pid, signal.SIGKILL)
    state = await_state(plugins, id, lambda state: "gave up" in state.error, "the end of all tries")
    assert (state.status, state.exit_code, state.restart_count) == ("exited", 127, 2)
    assert "/nonexistent" in state.error


@pytest.mark.usefixtures("long_pauses")
def test_stop_ends_a_pause_at_once_and_start_and_rm_need_not_wait_for_its_end(plugins: Plugins, serve: Serve) -> None:
    serve()
    id, other = plugins.run("exit 1", restart="always"), plugins.run("exit 1", restart="always")
    for each in (id, other):
        await_state(plugins, each, lambda state: state.status == "restarting", "the pause")
        await_free(plugins, each)
    plugins.host.stop(id)
    assert plugins.records.state(id).status == "exited"
    plugins.host.start(id)
    assert plugins.records.state(id).restart_count == 0
    await_state(plugins, id, lambda state: state.status == "restarting", "the pause after the next life")
    plugins.host.start(id)
    plugins.host.remove(other, force=True)
    assert plugins.records.ids() == [id]


@pytest.mark.usefixtures("long_pauses")
def test_a_life_that_a_person_began_in_a_pause_and_that_ended_unnoticed_has_a_pause_of_its_own(
    plugins: Plugins, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    id = plugins.run("exit 1", restart="always")
    await_state(plugins, id, lambda state: state.status == "restarting", "the pause")
    await_free(plugins, id)
    with monkeypatch.context() as unnoticed:
        unnoticed.setattr(host_module, "notify_serve", lambda layout: True)
        plugins.host.stop(id)
        plugins.host.start(id)
        wait_until(lambda: not is_alive(plugins.records.state(id)), "its end")
    notify_serve(plugins.host.layout)
    state = await_state(plugins, id, lambda state: state.status == "restarting", "the next pause")
    assert state.restart_count == 0


def test_one_that_a_person_stopped_is_not_started_again(plugins: Plugins, serve: Serve) -> None:
    serve()
    stopped, killed = plugins.run(restart="always"), plugins.run(restart="unless-stopped")
    for id in (stopped, killed):
        wait_until(lambda id=id: plugins.records.is_locked(id), "the supervisor")  # type: ignore[misc]
    plugins.host.stop(stopped, timeout=0)
    plugins.host.kill(killed)
    for id in (stopped, killed):
        state = await_state(plugins, id, lambda state: not is_alive(state) and state.status != "running", "its end")
        assert await_free(plugins, id).status == "exited"
        assert (state.exit_code, state.restart_count) == (137, 0)


@pytest.mark.usefixtures("long_pauses")
def test_at_its_start_what_was_stopped_is_started_by_always_alone_and_what_never_ran_by_nobody(
    plugins: Plugins, serve: Serve
) -> None:
    always, unless = plugins.run(restart="always"), plugins.run(restart="unless-stopped")
    never = plugins.create(restart="always")
    for id in (always, unless):
        plugins.host.stop(id, timeout=0)
    failed = plugins.run("exit 1", restart="on-failure:1")
    serve()
    assert is_alive(plugins.records.state(always))
    assert not plugins.records.stopped(always)
    assert plugins.records.state(unless).status == "exited"
    assert plugins.records.state(never).status == "created"
    state = await_state(plugins, failed, lambda state: state.status == "restarting", "its next end")
    assert state.restart_count == 0  # the start of serve is no restart


def test_one_that_is_to_be_removed_is_removed_when_it_ends(plugins: Plugins, serve: Serve, root_dir: Path) -> None:
    serve()
    id = plugins.run("exit 1", auto_remove=True)
    wait_until(lambda: not plugins.records.directory(id).exists(), "the removal")
    wait_until(lambda: not (root_dir / "containers" / id).exists(), "the removal of the executor's files")


def test_what_is_started_beside_it_is_taken_over_and_its_end_written_down(plugins: Plugins, serve: Serve) -> None:
    id = plugins.run("exit 4")
    await_state(plugins, id, lambda state: not is_alive(state), "its end")
    serve()
    assert plugins.records.state(id).exit_code == 4  # ended before
    for _ in range(2):
        plugins.host.start(id)
        await_state(plugins, id, lambda state: state.status == "exited", "its end")
        await_free(plugins, id)
    plugins.host.start(other := plugins.create())
    wait_until(lambda: plugins.records.is_locked(other), "the supervisor")
    plugins.host.start(other)  # does not wait for the lock
    os.kill(plugins.records.state(other).pid, signal.SIGKILL)
    assert await_state(plugins, other, lambda state: state.status == "exited", "its end").exit_code == 137


def test_one_that_is_started_while_its_supervisor_ends_gets_another(
    plugins: Plugins, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    say = supervisor.PluginSupervisor._say

    def say_late(self: supervisor.PluginSupervisor, doing: str) -> None:
        assert doing or let_go.wait(PATIENCE)
        say(self, doing)

    monkeypatch.setattr(supervisor.PluginSupervisor, "_say", say_late)
    serve()
    id = plugins.run()
    wait_until(lambda: plugins.records.is_locked(id), "the supervisor")
    os.kill(plugins.records.state(id).pid, signal.SIGKILL)
    await_state(plugins, id, lambda state: state.status == "exited", "its end")
    await_free(plugins, id)
    plugins.host.start(id)
    let_go.set()
    wait_until(lambda: plugins.records.is_locked(id), "the next supervisor")


def test_wait_beside_it_returns_though_the_plugin_is_started_again_at_once(
    plugins: Plugins, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_within = InitProcess.ends_within

    def killed(init: InitProcess, timeout: float | None) -> bool:
        init.send(signal.SIGKILL)  # now that it is waited for
        return ends_within(init, timeout)

    monkeypatch.setattr(InitProcess, "ends_within", killed)
    monkeypatch.setattr(supervisor, "pause_before", lambda restarts: 0.0)
    serve()
    id = plugins.run(restart="always")
    wait_until(lambda: plugins.records.is_locked(id), "the supervisor")
    before = plugins.records.state(id)
    state = plugins.host.wait(id)
    assert state.pid == before.pid
    assert state.exit_code in (137, None)  # an older kernel does not know it


def test_one_that_somebody_else_is_at_work_on_is_left_alone_until_that_is_over(
    plugins: Plugins, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SHORT_LOCK_TIMEOUT", 0.0)
    id = plugins.run("exit 5", restart="always")
    state = await_state(plugins, id, lambda state: not is_alive(state), "its end")
    with plugins.records.lock(id):
        serving = serve()
        assert plugins.records.state(id) == state
    serving.send(signal.SIGHUP)
    await_state(plugins, id, lambda state: state.restart_count >= 1, "the restart")


def test_one_serve_keeps_a_root_and_a_stale_socket_is_no_obstacle(
    plugins: Plugins, serve: Serve, root_dir: Path, containerd: Containerd
) -> None:
    (root_dir / "serve.sock").write_text("")
    serve()
    second = Serving(root_dir, containerd.address)
    with pytest.raises(FailedPrecondition, match="another 'pluginexec serve' keeps the plugins of"):
        second.end()
    id = plugins.run("exit 3")  # the first goes on
    await_state(plugins, id, lambda state: state.exit_code == 3, "its end")


def test_a_root_that_is_missing_is_made_for_its_owner_alone_and_nothing_is_left_in_the_end(root_dir: Path) -> None:
    root = root_dir / "deep" / "root"
    serving = Serving(root, "/nonexistent/containerd.sock")
    serving.await_ready()
    assert root.stat().st_mode & 0o777 == 0o700
    assert (root / "serve.sock").is_socket()
    serving.end()
    assert sorted(path.name for path in root.iterdir()) == ["owner", "serve.lock"]


def test_a_root_whose_path_is_too_long_for_a_socket_is_refused(root_dir: Path) -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        Serving(root_dir / ("x" * 100), "/nonexistent/containerd.sock").end()


def test_in_the_end_all_are_stopped_and_the_next_serve_starts_them_again_by_their_policy(
    plugins: Plugins, serve: Serve
) -> None:
    script = "trap 'exit 9' TERM; while :; do sleep 0.1; done"
    kept, done = plugins.run(script, restart="always"), plugins.run(script)
    serve(stop_timeout=30.0).end()
    for id in (kept, done):
        state = plugins.records.state(id)
        assert (state.status, state.exit_code) == ("exited", 9)
        assert not plugins.records.stopped(id)
        assert not plugins.records.is_locked(id)
    serve()
    assert is_alive(plugins.records.state(kept))
    assert not is_alive(plugins.records.state(done))


def test_in_the_end_a_paused_plugin_receives_its_stop_signal(plugins: Plugins, serve: Serve) -> None:
    id = plugins.run("trap 'exit 9' TERM; echo; while :; do sleep 0.1; done", log_driver="raw")
    wait_until(lambda: lives(plugins, id), "the trap")
    pause(plugins.host, id)
    serve(stop_timeout=PATIENCE).end()
    assert plugins.records.state(id).exit_code == 9


@pytest.mark.usefixtures("long_pauses")
def test_in_the_end_a_pause_is_over_and_nobody_is_said_to_be_about_to_start_it(plugins: Plugins, serve: Serve) -> None:
    id = plugins.run("exit 1", restart="on-failure:1")
    serving = serve()
    await_state(plugins, id, lambda state: state.restart_count == 0 and state.status == "restarting", "the pause")
    serving.end()
    assert plugins.records.state(id).status == "exited"


def test_live_restore_leaves_them_running_for_the_next(plugins: Plugins, serve: Serve) -> None:
    id = plugins.run("echo; exec sleep 1000", restart="always", log_driver="raw")
    first = serve(live_restore=True)
    state = plugins.records.state(id)
    assert plugins.records.is_locked(id)
    first.end()
    assert is_alive(state)
    assert plugins.records.state(id) == state
    assert not plugins.records.is_locked(id)
    serve()
    assert plugins.records.state(id) == state
    os.kill(state.pid, signal.SIGKILL)
    await_state(plugins, id, lambda now: now.restart_count == 1 and is_alive(now), "the restart")
    wait_until(lambda: lives(plugins, id) == 2, "the output of the second life")


def test_plugins_without_a_record_are_adopted(
    plugins: Plugins, serve: Serve, new_executor: Callable[..., Executor], shell: Any, new_id: Callable[[], str]
) -> None:
    id, later = new_id(), new_id()
    with new_executor() as executor:
        executor.create(id, shell(id, "exec sleep 1000"))
    serving = serve()
    record = plugins.records.record(id)
    assert (record.namespace, record.command[-1]) == (PLUGIN_NAMESPACE, "exec sleep 1000")
    assert is_alive(plugins.records.state(id))
    with new_executor(shared=True) as executor:
        executor.create(later, shell(later, "exec sleep 1000"))
    serving.send(signal.SIGHUP)
    serving.await_ready()
    assert is_alive(plugins.records.state(later))


def test_one_whose_containerd_is_away_is_waited_for(
    root_dir: Path, no_leaks: None, new_id: Callable[[], str], shell: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pluginexec.host")
    with tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as directory:
        containerd = Containerd(directory, leave_tasks=True)
        containerd.start()
        plugins = Plugins(root_dir, containerd.address, new_id, shell)
        id = plugins.run()
        containerd.stop()
        serving = Serving(root_dir, containerd.address, stop_timeout=0.0)
        try:
            serving.await_ready()
            assert is_alive(plugins.records.state(id))
            containerd.start()
            wait_until(lambda: f"{id}: taken over" in caplog.text, "the takeover")
            assert caplog.text.count(f"nothing listens at {containerd.address}; trying again") == 1
        finally:
            serving.end()
            containerd.stop()
    assert plugins.records.state(id).exit_code == 137
