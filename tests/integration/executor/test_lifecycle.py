"""The steps that take a container through containerd. Real: containerd, runc, containers and what is left of them; in
places a runc that fails or is slow at one step, and a way to containerd that can be cut.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from pluginexec import Remote
from pluginexec.cleanup.unfinished import Unfinished
from pluginexec.containerd.client import Client
from pluginexec.containerd.ctr import Completed, Subprocesses, Watch
from pluginexec.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PluginExecError,
    Unavailable,
)
from pluginexec.executor import deferred_cleanup
from pluginexec.executor import lifecycle as lifecycle_module
from pluginexec.executor.deferred_cleanup import DeferredCleanup
from pluginexec.executor.lifecycle import Lifecycle
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.root.root import Root
from pluginexec.types import PLUGIN_NAMESPACE, TaskState
from tests.support.containers import ctr, run, wait_for_state
from tests.support.fakes import fake_command
from tests.support.harness import Buffer, suspend, wait_until

pytestmark = pytest.mark.usefixtures("clean_namespace")

Shell = Callable[..., dict[str, Any]]
Leave = Callable[[Client, Root, str, dict[str, Any]], object]
FOREVER = "exec sleep 1000"


def unfinished(root: Root) -> Unfinished:
    """What is remembered in a root of the namespace of the tests, on some containerd."""
    return Unfinished(root.unfinished, "/x.sock", PLUGIN_NAMESPACE)


def make_steps(client: Client, root: Root) -> Lifecycle:
    """The steps, for an owner who does not ask about deferred cleanups."""
    return Lifecycle(client, root, DeferredCleanup(lambda: None, unfinished(root)))


@pytest.fixture
def root(clean_namespace: None, root_dir: Path) -> Iterator[Root]:
    """A locked root directory."""
    root = Root(root_dir)
    yield root
    root.close()


@pytest.fixture
def lifecycle(client: Client, root: Root) -> Lifecycle:
    """The steps, on the real containerd."""
    return make_steps(client, root)


class CutWay(Subprocesses):
    """Runs commands, until the way to containerd is cut; ``ctr run`` can also fail before or after it is run."""

    def __init__(self) -> None:
        self.is_cut = False
        self.in_place_of_run: BaseException | None = None
        self.after_run: BaseException | None = None

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        if self.is_cut:
            raise Unavailable("no way")
        if "run" in argv and self.in_place_of_run:
            raise self.in_place_of_run
        completed = super().run(argv, timeout, watch)
        if "run" in argv and self.after_run:
            self.is_cut = isinstance(self.after_run, Unavailable)
            raise self.after_run
        return completed


@pytest.fixture
def way() -> CutWay:
    """A way to containerd that can be cut."""
    return CutWay()


@pytest.fixture
def cut_lifecycle(way: CutWay, remote: Remote, root: Root) -> Lifecycle:
    """The steps, over a way that can be cut."""
    return make_steps(dataclasses.replace(remote, runner=way).new_client(PLUGIN_NAMESPACE), root)


@pytest.fixture
def new_runc(remote: Remote, tmp_path: Path) -> Callable[..., Client]:
    """Make clients whose runc does something else in place of, or before, one step."""

    def make(step: str, instead: str, **changes: Any) -> Client:
        script = f'for word; do [ "$word" = {step} ] && {{ {instead}; }}; done; exec runc "$@"'
        runc = fake_command(tmp_path / "runc", script)
        return dataclasses.replace(remote, runtime=runc, **changes).new_client(PLUGIN_NAMESPACE)

    return make


NewRunc = Callable[..., Client]


def is_gone(client: Client, files: PluginFiles) -> bool:
    """Whether nothing is left of a plugin, in containerd or among its files."""
    known = {*client.tasks(), *client.containers()}
    return files.id not in known and not files.directory.exists()


def says(lifecycle: Lifecycle, files: PluginFiles, spec: dict[str, Any]) -> bytes:
    """Start a plugin, wait for its end, and return what it said, all after it was deleted."""
    stdout = Buffer()
    streams = lifecycle.start(files, spec, stdout, None)
    streams.start()
    lifecycle.delete_ended(files.id)
    streams.drain()
    assert stdout.closings == 1
    return stdout.data


def test_a_start_runs_the_spec_and_writes_the_pid(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell
) -> None:
    files = root.plugin(id)
    lifecycle.start(files, shell(id, FOREVER), None, None).start()
    task = client.tasks()[id]
    assert task.state is TaskState.RUNNING
    assert task.pid == files.read_pid()
    assert (root.runtime_root / PLUGIN_NAMESPACE / id).is_dir()
    assert files.exist()


def without_task(client: Client, root: Root, id: str, spec: dict[str, Any]) -> None:
    """Leave a container whose task is gone."""
    stopped(client, root, id, spec)
    client.delete_task(id)


def stopped(client: Client, root: Root, id: str, spec: dict[str, Any]) -> None:
    """Leave a container whose task has stopped."""
    run(client, root, id, spec | {"process": spec["process"] | {"args": ["true"]}})
    wait_for_state(client, id, TaskState.STOPPED)


@pytest.mark.parametrize("leave", [without_task, stopped])
@pytest.mark.parametrize("ours", [True, False], ids=["with files", "without files"])
def test_a_stale_container_is_replaced(
    lifecycle: Lifecycle,
    client: Client,
    root: Root,
    id: str,
    shell: Shell,
    leave: Leave,
    ours: bool,
) -> None:
    leave(client, root, id, shell(id, FOREVER))
    if not ours:
        root.plugin(id).remove()
    assert says(lifecycle, root.plugin(id), shell(id, "echo new")) == b"new\n"
    assert id not in client.containers()


@pytest.mark.parametrize("ours", [True, False], ids=["with files", "without files"])
def test_a_container_that_was_never_started_is_replaced(
    lifecycle: Lifecycle, client: Client, new_runc: NewRunc, root: Root, id: str, shell: Shell, ours: bool
) -> None:
    with pytest.raises(PluginExecError):
        run(new_runc("start", "exit 1"), root, id, shell(id, FOREVER))
    wait_for_state(client, id, TaskState.CREATED)
    if not ours:
        root.plugin(id).remove()
    assert says(lifecycle, root.plugin(id), shell(id, "echo new")) == b"new\n"


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.PAUSED], ids=lambda state: state.value)
@pytest.mark.parametrize("ours", [True, False], ids=["with files", "without files"])
def test_a_container_that_is_alive_is_left_as_it_is(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell, state: TaskState, ours: bool
) -> None:
    files = run(client, root, id, shell(id, FOREVER))
    if state is TaskState.PAUSED:
        ctr(client, "tasks", "pause", "--", id)
    if not ours:
        files.remove()
    before = client.tasks(), client.containers(), sorted(root.path.rglob("*")), files.read_spec()
    stdout = Buffer()
    with pytest.raises(AlreadyExists, match=f"is {state.value.lower()} \\(pid") as caught:
        lifecycle.start(files, shell(id, "echo new"), stdout, None)
    assert caught.value.id == id
    assert caught.value.hint
    assert (client.tasks(), client.containers(), sorted(root.path.rglob("*")), files.read_spec()) == before
    assert client.tasks()[id].state is state
    assert stdout.closings == 0


def runc_state(root: Root, id: str, spec: dict[str, Any]) -> int:
    """Leave a process and its state in the runtime's directory, of which containerd knows nothing; return its pid."""
    files = root.plugin(id)
    files.make(spec)
    state = root.runtime_root / PLUGIN_NAMESPACE
    runc = ["runc", "--root", str(state), "run", "--detach", "--bundle", str(files.directory)]
    null = subprocess.DEVNULL
    subprocess.run(
        [*runc, "--pid-file", str(files.pid), id], stdin=null, stdout=null, stderr=null, check=True, timeout=30
    )
    pid = files.read_pid()
    assert pid
    files.remove()
    return pid


def lives(pid: int) -> bool:
    """Whether a process lives; one that its new parent has not reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("contained", [False, True], ids=["no container", "a stale container"])
@pytest.mark.parametrize("ours", [True, False], ids=["with files", "without files"])
def test_state_of_the_runtime_that_containerd_has_forgotten_is_replaced(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell, contained: bool, ours: bool
) -> None:
    files = root.plugin(id)
    if contained:
        without_task(client, root, id, shell(id, FOREVER))
    pid = runc_state(root, id, shell(id, FOREVER))
    if ours:
        files.make({})
    assert says(lifecycle, files, shell(id, "echo new")) == b"new\n"
    wait_until(lambda: not lives(pid), "the end of the forgotten process")
    assert id not in client.containers()
    assert not (root.runtime_root / PLUGIN_NAMESPACE / id).exists()


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(
            lambda spec: spec["process"].update(args=["/nope"]), InvalidArgument, id="an executable that is not there"
        ),
        pytest.param(
            lambda spec: spec["process"].update(args=["/etc/passwd"]), InvalidArgument, id="no executable at all"
        ),
        pytest.param(lambda spec: spec["root"].update(path="/nope"), PluginExecError, id="a root that is not there"),
        pytest.param(
            lambda spec: spec["linux"].update(sysctl={"net.ipv4.conf.all.mc_forwarding": "1"}),
            PermissionDenied,
            id="a setting that nobody may change",
        ),
        pytest.param(
            lambda spec: spec["mounts"].append({"destination": "/m", "type": "no-such-fs", "source": "x"}),
            PluginExecError,
            id="a mount that fails",
        ),
        pytest.param(lambda spec: spec.update(process="x"), InvalidArgument, id="a spec that ctr cannot read"),
    ],
)
def test_a_start_that_fails_leaves_nothing(
    lifecycle: Lifecycle,
    client: Client,
    root: Root,
    id: str,
    shell: Shell,
    change: Change,
    kind: type[PluginExecError],
) -> None:
    spec = shell(id, "true")
    change(spec)
    stdout = Buffer()
    with pytest.raises(kind):
        lifecycle.start(root.plugin(id), spec, stdout, stdout)
    assert is_gone(client, root.plugin(id))
    assert (stdout.closings, stdout.data) == (0, b"")
    assert says(lifecycle, root.plugin(id), shell(id, "echo new")) == b"new\n"


def test_a_runtime_that_is_not_there_leaves_nothing(
    remote: Remote, client: Client, root: Root, id: str, shell: Shell
) -> None:
    lifecycle = make_steps(dataclasses.replace(remote, runtime="/nope/runc").new_client(PLUGIN_NAMESPACE), root)
    with pytest.raises(FailedPrecondition):
        lifecycle.start(root.plugin(id), shell(id, "true"), None, None)
    assert is_gone(client, root.plugin(id))


@pytest.mark.parametrize("step", ["create", "start"])
def test_a_step_of_the_runtime_that_fails_leaves_nothing(
    new_runc: NewRunc, client: Client, root: Root, id: str, shell: Shell, step: str
) -> None:
    lifecycle = make_steps(new_runc(step, "echo odd >&2; exit 1"), root)
    with pytest.raises(PluginExecError):
        lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    assert is_gone(client, root.plugin(id))


@pytest.mark.parametrize("step", ["create", "start"])
def test_a_step_of_the_runtime_that_takes_too_long_leaves_nothing(
    new_runc: NewRunc, client: Client, root: Root, id: str, shell: Shell, step: str
) -> None:
    lifecycle = make_steps(new_runc(step, "sleep 5", timeout=3.0), root)
    with pytest.raises(DeadlineExceeded):
        lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    assert is_gone(client, root.plugin(id))


def test_an_ended_one_is_deleted_with_its_task(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell
) -> None:
    stopped(client, root, id, shell(id, FOREVER))
    lifecycle.delete_ended(id)
    assert id not in client.tasks()
    assert id not in client.containers()


def test_one_that_has_just_ended_is_deleted_as_soon_as_containerd_knows_it(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = run(client, root, id, shell(id, FOREVER)).read_pid()
    assert pid
    pauses = []

    def end_it(_: float) -> None:
        pauses.append(True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(time, "sleep", end_it)
    lifecycle.delete_ended(id)  # containerd says that it runs, and so it does, until the first pause
    assert pauses
    assert id not in client.containers()


def test_one_that_runs_is_not_deleted_and_that_is_logged(
    lifecycle: Lifecycle,
    client: Client,
    root: Root,
    id: str,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(deferred_cleanup, "SETTLE_TIMEOUT", 0.1)
    run(client, root, id, shell(id, FOREVER))
    lifecycle.delete_ended(id)
    assert client.tasks()[id].state is TaskState.RUNNING
    assert ["may be left behind" in record.getMessage() for record in caplog.records] == [True]


def test_deleting_what_is_not_there_is_no_failure(
    lifecycle: Lifecycle, id: str, caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle.delete_ended(id)
    lifecycle.remove_half_made(id)
    assert not caplog.records


def test_a_half_made_one_is_removed_in_any_state(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell
) -> None:
    for leave in (run, without_task, stopped):
        leave(client, root, id, shell(id, FOREVER))
        lifecycle.remove_half_made(id)
        assert id not in client.tasks()
        assert id not in client.containers()


def test_a_live_one_is_found_with_its_process(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell
) -> None:
    files = run(client, root, id, shell(id, FOREVER))
    for state in (TaskState.RUNNING, TaskState.PAUSED):
        task, init = lifecycle.find(files)
        assert task
        assert init
        assert task.state is state
        assert init.pid == task.pid == files.read_pid()
        init.close()
        if state is TaskState.RUNNING:
            ctr(client, "tasks", "pause", "--", id)


@pytest.mark.parametrize(
    "pid", [pytest.param(os.getpid(), id="recycled"), pytest.param(2**22 + 1, id="of nobody"), None]
)
def test_a_pid_file_that_names_another_process_is_not_believed(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell, pid: int | None
) -> None:
    files = run(client, root, id, shell(id, FOREVER))
    files.pid.unlink()
    if pid:
        files.pid.write_text(str(pid))
    task, init = lifecycle.find(files)
    assert task
    assert init
    assert init.pid == task.pid != pid
    init.close()


@pytest.mark.parametrize("leave", [stopped, without_task, None])
def test_one_that_does_not_run_has_no_process_whatever_the_pid_file_says(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell, leave: Leave | None
) -> None:
    files = root.plugin(id)
    if leave:
        leave(client, root, id, shell(id, FOREVER))
    else:
        files.make({})
    files.pid.write_text(str(os.getpid()))
    task, init = lifecycle.find(files)
    assert init is None
    assert (task.state if task else None) is (TaskState.STOPPED if leave is stopped else None)


def test_where_the_kernel_is_ahead_of_containerd_that_is_waited_for(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = run(client, root, id, shell(id, FOREVER))
    outdated = [client.tasks()] * 3
    pid = files.read_pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_for_state(client, id, TaskState.STOPPED)
    tasks = client.tasks
    monkeypatch.setattr(client, "tasks", lambda: outdated.pop() if outdated else tasks())
    task, init = lifecycle.find(files)
    assert init is None
    assert task
    assert task.state is TaskState.STOPPED


def test_a_live_one_whose_process_cannot_be_held_is_not_taken_for_ended(
    lifecycle: Lifecycle, client: Client, root: Root, id: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pidfd_open(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    files = run(client, root, id, shell(id, FOREVER))
    monkeypatch.setattr(lifecycle_module, "SETTLE_TIMEOUT", 0.1)
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(Unavailable, match="Too many open files"):
        lifecycle.find(files)


@pytest.fixture
def hung(client: Client, root: Root, id: str, shell: Shell) -> Iterator[PluginFiles]:
    """The files of a plugin whose shim does not answer containerd."""
    files = run(client, root, id, shell(id, FOREVER))
    pid = files.read_pid()
    assert pid
    shim = psutil.Process(pid).parent()
    assert shim
    suspend(shim)
    yield files
    shim.resume()


def test_one_of_which_containerd_does_not_know_the_state_is_neither_found_nor_replaced(
    lifecycle: Lifecycle, hung: PluginFiles, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_module, "SETTLE_TIMEOUT", 0.1)
    with pytest.raises(Unavailable, match="its shim does not answer containerd"):
        lifecycle.find(hung)
    with pytest.raises(AlreadyExists, match="is unknown"):
        lifecycle.start(hung, shell(hung.id, "true"), None, None)
    assert hung.exist()


class Free:
    """Says whether ids are free, and keeps those asked about."""

    def __init__(self, is_free: bool = True) -> None:
        self.is_free = is_free
        self.asked: list[str] = []

    @contextlib.contextmanager
    def __call__(self, id: str) -> Iterator[bool]:
        self.asked.append(id)
        yield self.is_free


def retry(lifecycle: Lifecycle, free: Free) -> None:
    """Try the deferred cleanups again."""
    lifecycle._deferred.retry(free, lifecycle.remove_half_made)


def test_what_could_not_be_deleted_while_containerd_was_away_is_deleted_later(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, id: str, shell: Shell
) -> None:
    stopped(client, root, id, shell(id, FOREVER))
    way.is_cut = True
    cut_lifecycle.delete_ended(id)
    retry(cut_lifecycle, Free())  # still away
    assert id in client.containers()
    way.is_cut = False
    free = Free()
    retry(cut_lifecycle, free)
    assert id not in client.containers()
    retry(cut_lifecycle, free)
    assert free.asked == [id]


def test_what_is_left_of_a_start_is_removed_later_even_if_it_runs(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, id: str, shell: Shell
) -> None:
    way.after_run = Unavailable("no way any more")
    with pytest.raises(Unavailable, match="any more"):
        cut_lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    assert client.tasks()[id].state is TaskState.RUNNING
    way.is_cut = False
    retry(cut_lifecycle, Free())
    assert is_gone(client, root.plugin(id))


def test_a_start_without_an_answer_does_not_end_somebody_elses_plugin_of_that_id(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, tmp_path: Path, id: str, shell: Shell
) -> None:
    elsewhere = Root(tmp_path / "elsewhere")
    run(client, elsewhere, id, shell(id, FOREVER))
    way.in_place_of_run = DeadlineExceeded("ctr gave no answer")  # nor did it say that the id is taken
    with pytest.raises(DeadlineExceeded):
        cut_lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    retry(cut_lifecycle, Free())
    assert client.tasks()[id].state is TaskState.RUNNING
    elsewhere.close()


def test_what_a_start_without_an_answer_made_is_deleted_though_the_next_start_got_none_either(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, id: str, shell: Shell
) -> None:
    way.after_run = Unavailable("no way back")
    for _ in range(2):  # the way stays cut, so the second makes nothing
        with pytest.raises(Unavailable):
            cut_lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    assert client.tasks()[id].state is TaskState.RUNNING
    way.is_cut = False
    retry(cut_lifecycle, Free())
    assert id not in client.containers()


def test_where_there_is_no_ctr_nothing_was_made_and_nothing_is_removed(
    cut_lifecycle: Lifecycle, way: CutWay, root: Root, id: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(cut_lifecycle, "remove_half_made", lambda id, marks: removed.append(id))
    way.in_place_of_run = FailedPrecondition("cannot run 'ctr'")
    with pytest.raises(FailedPrecondition, match="cannot run"):
        cut_lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    assert removed == []


def test_an_id_that_is_in_use_again_is_not_deleted_later(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, id: str, shell: Shell
) -> None:
    way.is_cut = True
    cut_lifecycle.remove_half_made(id)
    way.is_cut = False
    cut_lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    free = Free()
    retry(cut_lifecycle, free)
    assert client.tasks()[id].state is TaskState.RUNNING
    assert free.asked == []


def test_what_could_not_be_deleted_is_kept_while_its_end_is_dealt_with(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, id: str, shell: Shell
) -> None:
    stopped(client, root, id, shell(id, FOREVER))
    way.is_cut = True
    cut_lifecycle.delete_ended(id)
    way.is_cut = False
    retry(cut_lifecycle, Free(is_free=False))
    assert id in client.containers()
    retry(cut_lifecycle, Free())
    assert id not in client.containers()


def test_an_interrupted_start_leaves_nothing(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, id: str, shell: Shell
) -> None:
    way.after_run = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        cut_lifecycle.start(root.plugin(id), shell(id, FOREVER), Buffer(), None)
    assert is_gone(client, root.plugin(id))


def test_a_leaked_shim_is_named_as_what_is_in_the_way(
    cut_lifecycle: Lifecycle, way: CutWay, client: Client, root: Root, id: str, shell: Shell
) -> None:
    way.in_place_of_run = AlreadyExists(f"ctr: task {id}: already exists")
    with pytest.raises(AlreadyExists) as caught:
        cut_lifecycle.start(root.plugin(id), shell(id, FOREVER), None, None)
    assert "shim" in (caught.value.hint or "")
    assert is_gone(client, root.plugin(id))


class TaskGone:
    """A client whose first deletion finds that somebody has just deleted the task, and that leaves the container."""

    namespace = PLUGIN_NAMESPACE

    def __init__(self) -> None:
        self.deletions = 0

    def delete_container(self, id: str) -> None:
        self.deletions += 1
        if self.deletions == 1:
            raise NotFound(f"ctr: no running task found: task {id} not found: not found", returncode=1)


def test_a_task_that_another_program_deletes_meanwhile_does_not_save_its_container(root: Root) -> None:
    client = TaskGone()
    make_steps(cast(Client, client), root).delete_ended("x")
    assert client.deletions == 2


class Away:
    """A client whose containerd is away."""

    def delete_container(self, id: str) -> None:
        raise Unavailable("ctr: failed to dial", returncode=1)


def test_the_owner_is_called_for_a_leftover(root: Root) -> None:
    told: list[str] = []
    deferred = DeferredCleanup(lambda: told.append("told"), unfinished(root))
    Lifecycle(cast(Client, Away()), root, deferred).delete_ended("x")
    assert told == ["told"]


def test_a_leftover_that_stays_is_logged_once(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    lifecycle = make_steps(cast(Client, Away()), root)
    for _ in range(3):
        lifecycle.delete_ended("x")
    assert ["may be left behind" in record.getMessage() for record in caplog.records] == [True]
