"""The root directory and the files of a plugin. Real: the file system, locks, and other processes that hold them."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pluginexec.errors import FailedPrecondition, InvalidArgument, PermissionDenied, PluginExecError, Unavailable
from pluginexec.linux.locks import take_lock
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.root.root import Root
from pluginexec.types import ExitStatus
from tests.support.shortages import few_descriptors

STATUS = ExitStatus(42, datetime(2026, 11, 23, 13, 29, 4, 38438, tzinfo=timezone.utc), 4711, True)


@pytest.fixture
def new_root() -> Iterator[Callable[..., Root]]:
    """Make roots that are closed in the end."""
    roots = []

    def make(directory: str | os.PathLike[str]) -> Root:
        roots.append(Root(directory))
        return roots[-1]

    yield make
    for root in roots:
        root.close()


NewRoot = Callable[..., Root]


@pytest.fixture
def root(new_root: NewRoot, root_dir: Path) -> Root:
    """A locked root directory."""
    return new_root(root_dir)


@pytest.fixture
def files(root: Root) -> PluginFiles:
    """The files of a plugin, made."""
    files = root.plugin("x")
    files.make({"spec": "é"})
    return files


def test_a_root_is_made_with_its_parents_and_for_its_owner_only(new_root: NewRoot, root_dir: Path) -> None:
    was = os.umask(0)
    try:
        root = new_root(root_dir / "a" / "b")
    finally:
        os.umask(was)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (root.path, root.path / "containers")] == [0o700, 0o700]
    assert stat.S_IMODE((root.path / "lock").stat().st_mode) == 0o600


def test_a_second_root_on_the_same_directory_is_refused_until_the_first_is_closed(
    new_root: NewRoot, root: Root
) -> None:
    with pytest.raises(FailedPrecondition, match="is in use") as caught:
        Root(root.path)
    assert caught.value.hint
    root.close()
    root.close()
    new_root(root.path)


def test_the_lock_holds_against_a_path_through_a_link(root: Root, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root.path.parent)
    with pytest.raises(FailedPrecondition, match="is in use"):
        Root(link / root.path.name)


def test_another_process_holds_the_root_until_it_dies(new_root: NewRoot, root_dir: Path) -> None:
    script = (
        "import sys; from pluginexec.root.root import Root; r = Root(sys.argv[1]); print('held', flush=True); input()"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, str(root_dir)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env={"PYTHONPATH": os.pathsep.join(sys.path)}) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FailedPrecondition, match="is in use"):
            Root(root_dir)
        other.kill()
    new_root(root_dir)


def test_a_child_that_is_just_being_started_is_waited_for(new_root: NewRoot, root: Root) -> None:
    # Until it runs, it has all our descriptors; so when we are killed meanwhile, it holds the lock for a moment.
    assert root._lock is not None
    inherited = os.dup(root._lock)
    root.close()
    timer = threading.Timer(0.2, os.close, (inherited,))
    timer.start()
    new_root(root.path)
    timer.join()


def test_a_child_that_outlives_the_root_does_not_hold_it(new_root: NewRoot, root: Root) -> None:
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        root.close()
        new_root(root.path)
        child.kill()


@pytest.mark.parametrize(
    "name", ["a b", "a'b\"c", "%41%", "a&b;c|d", "$HOME`id`", "é 日本", "-rf", "a\nb", "*", "a\\b", "~", "x" * 255]
)
def test_a_directory_may_have_any_name(new_root: NewRoot, root_dir: Path, name: str) -> None:
    root = new_root(root_dir / name)
    files = root.plugin("x")
    files.make({})
    files.write_exit(STATUS)
    assert files.read_exit() == STATUS
    assert files.directory == root_dir / name / "containers" / "x"


def test_a_relative_directory_counts_from_where_we_are_now(
    new_root: NewRoot, root_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root_dir)
    root = new_root("a/../b")
    monkeypatch.chdir("/")
    assert root.path == root_dir / "b"
    assert root.runtime_root == root_dir / "b" / "runtime-root"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        pytest.param("", InvalidArgument, id="empty"),
        pytest.param("/tmp/a\0b", InvalidArgument, id="nul"),
        pytest.param(os.fsdecode(b"/tmp/a\xff"), InvalidArgument, id="not UTF-8"),
        pytest.param(None, InvalidArgument, id="none"),
        pytest.param(7, InvalidArgument, id="a number"),
        pytest.param("/etc/passwd", InvalidArgument, id="a file"),
        pytest.param("/etc/passwd/x", InvalidArgument, id="in a file"),
        pytest.param("/dev/null", InvalidArgument, id="a device"),
        pytest.param("/tmp/" + "x" * 256, InvalidArgument, id="a name that is too long"),
        pytest.param("/tmp/" + "x/" * 2100, InvalidArgument, id="a path that is too long"),
        pytest.param("/tmp/px-deep" + "/x" * 1900, InvalidArgument, id="a path that is too deep"),
        pytest.param("/sys/pluginexec", PermissionDenied, id="a place where nobody may"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused(path: str, kind: type[PluginExecError]) -> None:
    with pytest.raises(kind, match=r"^root directory") as caught:
        Root(path)
    assert "\n" not in str(caught.value)


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InvalidArgument, match=r"^root directory"):
        Root(tmp_path / "a" / "c")


@pytest.mark.parametrize("id", ["", "../x", "/etc", "a/b", "a\0b", "x" * 77, "-rf", "h"])
def test_a_bad_id_leads_to_no_file(root: Root, id: str) -> None:
    with pytest.raises(InvalidArgument):
        root.plugin(id)


def test_naming_a_plugin_makes_nothing(root: Root) -> None:
    assert not root.plugin("x").exist()
    assert not root.plugin("x").directory.exists()


def test_making_the_files_writes_the_spec_for_the_owner_only(files: PluginFiles) -> None:
    assert files.exist()
    assert files.read_spec() == {"spec": "é"}
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700


def test_making_the_files_removes_what_an_earlier_life_left(files: PluginFiles) -> None:
    files.write_exit(STATUS)
    files.pid.write_text("1")
    os.mkfifo(files.stdout)
    files.make({"new": 1})
    assert set(os.listdir(files.directory)) == {"config.json", "exit.json.new"}
    assert files.read_spec() == {"new": 1}


def test_files_that_cannot_be_made_raise_an_error_of_the_tree(files: PluginFiles) -> None:
    files.remove()
    files.directory.parent.rmdir()
    files.directory.parent.write_text("a file in its place")
    with pytest.raises(InvalidArgument, match="cannot be used: Not a directory"):
        files.make({})


def fill(files: PluginFiles) -> None:
    """Make all that a plugin may have."""
    os.mkfifo(files.stdout)
    os.mkfifo(files.stderr)
    files.attached.touch()
    files.pid.write_text("1")
    files.write_exit(STATUS)


def test_removing_the_files_removes_the_directory(files: PluginFiles) -> None:
    fill(files)
    files.remove()
    files.remove()
    assert not files.directory.exists()
    assert not files.exist()


def test_removing_all_but_the_exit_record_leaves_that_alone(files: PluginFiles) -> None:
    fill(files)
    files.remove(keep_exit=True)
    files.remove(keep_exit=True)
    assert os.listdir(files.directory) == ["exit.json"]
    assert files.read_exit() == STATUS
    assert not files.exist()


@pytest.mark.parametrize(
    ("content", "pid"),
    [(b"42", 42), (b"42\n", 42), (b"", None), (b"x", None), (b"\xff", None), (b"4 2", None), (None, None)],
)
def test_a_pid_is_read_if_there_is_one(files: PluginFiles, content: bytes | None, pid: int | None) -> None:
    if content is not None:
        files.pid.write_bytes(content)
    assert files.read_pid() == pid


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": 1', b"[" * 100_000, None])
def test_a_spec_that_cannot_be_read_is_empty(files: PluginFiles, content: bytes | None) -> None:
    files.config.unlink()
    if content is not None:
        files.config.write_bytes(content)
    assert files.read_spec() == {}


@pytest.mark.parametrize("code", [0, 42, 255, None])
@pytest.mark.parametrize("oom", [True, False])
def test_an_exit_record_comes_back_as_it_was_written(files: PluginFiles, code: int | None, oom: bool) -> None:
    status = ExitStatus(code, STATUS.exited_at, 4711, oom)
    files.write_exit(status)
    read = files.read_exit()
    assert read == status
    assert read.exited_at.tzinfo


def test_an_exit_record_can_be_written_where_nothing_was_made(root: Root) -> None:
    root.plugin("y").write_exit(STATUS)
    assert root.plugin("y").read_exit() == STATUS


def record(**changes: object) -> bytes:
    """An exit record with changes."""
    good = {"exit_code": 1, "exited_at": "2026-11-23T13:29:04+00:00", "pid": 1, "oom_killed": False}
    return json.dumps({key: value for key, value in (good | changes).items() if value != "missing"}).encode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"", id="empty"),
        pytest.param(record()[:-9], id="torn"),
        pytest.param(b"\0" * 90, id="zeros, as a file system may leave after a crash"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(record(pid="missing"), id="without pid"),
        pytest.param(record(exited_at="missing"), id="without time"),
        pytest.param(record(exited_at="yesterday"), id="no time"),
        pytest.param(record(exited_at=7), id="a number for a time"),
    ],
)
def test_a_record_that_is_not_whole_is_no_record(files: PluginFiles, content: bytes | None) -> None:
    if content is not None:
        (files.directory / "exit.json").write_bytes(content)
    assert files.read_exit() is None


def test_who_reads_while_a_record_is_written_sees_the_old_or_the_new_one(files: PluginFiles) -> None:
    statuses = [ExitStatus(code, STATUS.exited_at, code * 10**12) for code in range(200)]
    files.write_exit(statuses[0])
    read = []
    writer = threading.Thread(target=lambda: deque(map(files.write_exit, statuses), maxlen=0))
    writer.start()
    while writer.is_alive():
        read.append(files.read_exit())
    writer.join()
    assert set(read) <= set(statuses)


def test_a_record_that_cannot_be_written_whole_leaves_the_old_one(
    files: PluginFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_exit(STATUS)

    def tear(path: Path, text: str) -> None:
        path.write_bytes(text[:9].encode())
        raise OSError("no space left")

    monkeypatch.setattr("pluginexec.root.plugin_files.write_in_place", tear)
    with pytest.raises(OSError, match="no space"):
        files.write_exit(ExitStatus(0, STATUS.exited_at, 1))
    assert files.read_exit() == STATUS
    assert {path.name for path in files.directory.iterdir()} == {"config.json", "exit.json"}


def test_what_cannot_be_read_now_does_not_count_as_missing(files: PluginFiles) -> None:
    fill(files)
    for read in (files.read_pid, files.read_spec, files.read_exit, files.attach):
        with few_descriptors(0), pytest.raises(Unavailable, match="Too many open files"):
            read()
    assert (files.read_pid(), files.read_exit()) == (1, STATUS)


def test_the_files_are_removed_without_a_descriptor(files: PluginFiles) -> None:
    fill(files)
    with few_descriptors(0):
        files.remove()
    assert not files.directory.exists()


def test_what_ctr_left_among_the_files_is_removed_too(files: PluginFiles) -> None:
    (files.directory / ".pid").touch()
    files.remove()
    assert not files.directory.exists()


def test_no_exit_record_is_old_that_cannot_be_looked_at(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.root.root.EXITS_KEPT", 1)
    for id in ("x", "y"):
        root.plugin(id).write_exit(STATUS)
    with few_descriptors(0):
        assert root.old_exits() == []
    assert [files.id for files in root.old_exits()] == ["x"]


def test_the_newest_exit_records_are_kept_though_the_clock_is_set_back(
    new_root: NewRoot, root_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pluginexec.root.root.EXITS_KEPT", 2)
    now = time.time_ns()
    first = new_root(root_dir)
    for id in ("a", "b"):
        first.plugin(id).write_exit(STATUS)
    monkeypatch.setattr(time, "time_ns", lambda: now - 3600 * 10**9)
    first.plugin("c").write_exit(STATUS)
    assert [files.id for files in first.old_exits()] == ["a"]
    first.close()
    second = new_root(root_dir)
    second.old_exits()  # as a table does when it is made
    second.plugin("d").write_exit(STATUS)
    assert [files.id for files in second.old_exits()] == ["a", "b"]


def test_the_newest_exit_records_are_kept(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.root.root.EXITS_KEPT", 3)
    for age, id in enumerate(["new", "b", "newer", "a", "z"]):
        files = root.plugin(id)
        files.write_exit(STATUS)
        os.utime(files.directory / "exit.json", (1000 - age, 1000 - age))
    root.plugin("alive").make({})
    assert [files.id for files in root.old_exits()] == ["z", "a"]


def test_few_exit_records_are_all_kept(root: Root) -> None:
    assert root.old_exits() == []
    root.plugin("x").write_exit(STATUS)
    assert root.old_exits() == []


def test_the_attach_lock_shuts_others_out_until_it_is_closed(files: PluginFiles) -> None:
    lock = files.attach()
    assert take_lock(files.attached) is None
    os.close(lock)
    second = take_lock(files.attached)
    assert second is not None
    os.close(second)


def test_who_holds_the_attach_lock_for_an_instant_is_waited_for(
    files: PluginFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = take_lock(files.attached)
    assert other is not None
    tries = []

    def sleep(_: float) -> None:
        tries.append(True)
        if len(tries) == 3:
            os.close(other)

    monkeypatch.setattr(time, "sleep", sleep)
    os.close(files.attach())
    assert len(tries) == 3


def test_who_goes_on_holding_the_attach_lock_is_not_waited_for_without_end(
    files: PluginFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pluginexec.root.plugin_files._ATTACH_TIMEOUT", 0.05)
    other = take_lock(files.attached)
    assert other is not None
    with pytest.raises(FailedPrecondition, match="is locked by another process"):
        files.attach()
    os.close(other)


def test_a_lock_that_cannot_be_had_leaks_no_descriptor(files: PluginFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError("no locks on this file system")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="no locks"):
        take_lock(files.attached)  # the fixture that looks for leaks sees the rest
