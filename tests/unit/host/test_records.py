"""The records of plugins on disk.

Real: the files, the locks (of another process too), and the processes that states speak of. No containerd.
"""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import NoReturn

import pytest

from pluginexec.errors import AlreadyExists, DeadlineExceeded, InvalidArgument, NotFound, PermissionDenied, Unknown
from pluginexec.host.records import Record, Records, State, hold_process, is_alive
from pluginexec.linux import locks
from pluginexec.linux.locks import take_lock
from pluginexec.linux.pidfd import start_seconds
from tests.support.harness import PATIENCE, wait_until
from tests.support.layouts import one_directory

NOW = datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=timezone.utc)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(one_directory(tmp_path / "root"))


def record(id: str, **changes: object) -> Record:
    return Record(id=id, created_at=NOW, address="/a", namespace="n", command=["true"], **changes)  # type: ignore[arg-type]


def test_a_record_comes_back_as_it_was_written(records: Records) -> None:
    asked = record("one", labels={"k": "v"}, log_opts={"max-size": "1m"}, restart="always", detached=False)
    records.create(asked, {"process": {"args": ["true"]}})
    assert records.record("one") == asked
    assert records.spec("one") == {"process": {"args": ["true"]}}
    assert records.state("one") == State()


def test_a_state_comes_back_as_it_was_written(records: Records) -> None:
    records.create(record("one"), {})
    state = State("exited", 7, 1.5, NOW, NOW, True, 137, True, 3, "it failed")
    records.write_state("one", state)
    assert records.state("one") == state


def test_only_some_fields_of_a_state_can_be_changed(records: Records) -> None:
    records.create(record("one"), {})
    records.write_state("one", State("running", 7, restart_count=2))
    assert records.change_state("one", status="exited", exit_code=3) == State("exited", 7, exit_code=3, restart_count=2)


def test_what_a_later_version_wrote_in_addition_is_no_error(records: Records) -> None:
    records.create(record("one"), {})
    path = records.directory("one") / "state.json"
    path.write_text('{"status": "exited", "mood": "good"}')
    assert records.state("one").status == "exited"


@pytest.mark.parametrize("content", ["{", '{"started_at": "yesterday"}'])
def test_a_file_that_was_tampered_with_is_named(records: Records, content: str) -> None:
    records.create(record("one"), {})
    (records.directory("one") / "state.json").write_text(content)
    with pytest.raises(Unknown, match="one"):
        records.state("one")


def test_an_id_is_taken_once_and_the_first_record_stays(records: Records) -> None:
    records.create(record("one"), {"first": 1})
    with pytest.raises(AlreadyExists, match="there is a plugin of this id"):
        records.create(record("one"), {"second": 2})
    assert records.spec("one") == {"first": 1}
    assert [path.name for path in records.directory("one").parent.iterdir()] == ["one"]


def test_of_twenty_that_create_one_id_at_once_one_succeeds(records: Records) -> None:
    made, barrier = [], threading.Barrier(20)

    def create() -> None:
        own = Records(records.layout)
        barrier.wait()
        try:
            own.create(record("one"), {})
            made.append(1)
        except AlreadyExists:
            pass

    threads = [threading.Thread(target=create) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_the_directories_are_ours_alone(records: Records) -> None:
    records.create(record("one"), {})
    for path in (records.layout.root, records.layout.root / "plugins", records.directory("one")):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="file"):
        Records(one_directory(tmp_path / "file" / "root")).create(record("one"), {})


def test_ids_are_listed_last_created_first(records: Records) -> None:
    for number, id in enumerate(("b", "a", "c")):
        records.create(record(id), {})
        os.utime(records.directory(id) / "plugin.json", ns=(number, number))
    assert records.ids() == ["c", "a", "b"]


def test_ids_that_may_not_be_listed_are_not_none(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: str | Path) -> NoReturn:
        raise OSError(errno.EACCES, "Permission denied", str(path))

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, deny)
    with pytest.raises(PermissionDenied, match=r"^permission denied: "):
        records.ids()
    with pytest.raises(PermissionDenied, match=r"^permission denied: "):
        records.resolve("x")


def test_a_root_that_is_not_there_has_no_ids(records: Records) -> None:
    assert records.ids() == []


def test_an_id_is_found_by_its_beginning_and_in_full_before_that(records: Records) -> None:
    for id in ("web", "web1", "db"):
        records.create(record(id), {})
    assert [records.resolve(text) for text in ("web", "d", "web1")] == ["web", "db", "web1"]
    with pytest.raises(InvalidArgument, match="2 ids"):
        records.resolve("we")
    for unknown in ("x", ""):
        with pytest.raises(NotFound, match="no such plugin"):
            records.resolve(unknown)


def test_an_id_that_leads_out_of_the_root_is_refused(records: Records) -> None:
    with pytest.raises(InvalidArgument):
        records.directory("../../etc")


def test_a_record_that_is_removed_is_gone_with_all_its_files(records: Records) -> None:
    records.create(record("one"), {})
    (records.directory("one") / "one-json.log").touch()
    records.remove("one")
    assert list((records.layout.root / "plugins").iterdir()) == []
    for read in (records.record, records.state, records.spec):
        with pytest.raises(NotFound):
            read("one")


def test_what_a_removal_left_that_was_killed_blocks_no_id(records: Records) -> None:
    records.create(record("one"), {"first": 1})
    (records.directory("one") / "plugin.json").unlink()
    assert records.ids() == []
    records.create(record("one"), {"second": 2})
    assert records.spec("one") == {"second": 2}


def test_who_has_the_lock_keeps_others_out_until_they_lose_patience(records: Records) -> None:
    records.create(record("one"), {})
    with records.lock("one"):
        assert records.is_locked("one")
        with pytest.raises(DeadlineExceeded, match="another process is at work on it"), records.lock("one", 0.05):
            pass
    assert not records.is_locked("one")


def test_a_process_that_is_killed_lets_go_of_the_lock(records: Records) -> None:
    records.create(record("one"), {})
    script = f"""
from pluginexec.host.records import Records
from pluginexec.root.layout import Layout
import sys
with Records(Layout.of({str(records.layout.root)!r}, {str(records.layout.state)!r})).lock("one"):
    print("locked", flush=True)
    sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == b"locked\n"
        assert records.is_locked("one")
        process.kill()
        process.wait()
    with records.lock("one"):
        pass


def test_who_waited_for_the_lock_of_a_plugin_that_was_removed_is_told(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.create(record("one"), {})
    found: list[BaseException] = []
    tried = threading.Event()

    def try_lock(path: Path, **options: bool) -> int | None:
        lock = take_lock(path, **options)
        if lock is None:
            tried.set()
        return lock

    def wait() -> None:
        try:
            with records.lock("one", PATIENCE):
                pass
        except NotFound as error:
            found.append(error)

    with records.lock("one"):
        monkeypatch.setattr(locks, "take_lock", try_lock)
        thread = threading.Thread(target=wait)
        thread.start()
        assert tried.wait(PATIENCE)
        records.remove("one")
    thread.join()
    assert found


def test_a_lock_on_a_file_that_is_no_longer_the_plugins_is_none(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.create(record("one"), {})

    def lock_too_late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        records.remove("one")
        records.create(record("one"), {})
        fcntl.flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    with pytest.raises(NotFound), records.lock("one"):
        pass


def test_who_comes_for_the_lock_of_a_plugin_that_is_being_removed_makes_nothing(records: Records) -> None:
    records.create(record("one"), {})
    for path in records.directory("one").iterdir():
        path.unlink()
    with pytest.raises(NotFound), records.lock("one"):
        pass
    records.directory("one").rmdir()


def test_the_mark_of_a_person_who_stopped_it_is_set_and_taken_away(records: Records) -> None:
    records.create(record("one"), {})
    assert not records.stopped("one")
    records.mark_stopped("one")
    records.mark_stopped("one")
    assert records.stopped("one")
    records.clear_stopped("one")
    records.clear_stopped("one")
    assert not records.stopped("one")
    with pytest.raises(NotFound):
        records.mark_stopped("two")


def test_a_state_is_alive_while_its_process_is() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        started = start_seconds(process.pid) or 0.0
        state = State("running", process.pid, started)
        assert is_alive(state)
        assert not is_alive(State("exited", process.pid, started))
        assert not is_alive(State("running", process.pid, started + 1)), "the pid is another process's now"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(state), "a zombie"
    assert not is_alive(state)
    assert not is_alive(State("running"))


def test_a_held_process_can_be_waited_for() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        init = hold_process(State("running", process.pid, start_seconds(process.pid) or 0.0))
        assert init
        assert not init.has_ended()
        process.kill()
        wait_until(init.has_ended)
        init.close()


def test_a_disk_that_does_not_let_us_write_is_named(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    records.create(record("one"), {})

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pluginexec.host.records.write_plain", refuse)
    monkeypatch.setattr("pluginexec.host.records.write_in_place", refuse)
    with pytest.raises(PermissionDenied, match=r"state\.json"):
        records.write_state("one", State())
    with pytest.raises(PermissionDenied, match="two"):
        records.create(record("two"), {})


def test_a_file_that_is_nested_without_end_is_not_json(records: Records) -> None:
    records.create(record("a"), {})
    (records.directory("a") / "state.json").write_bytes(b"[" * 100_000)
    with pytest.raises(Unknown, match="is not json"):
        records.state("a")
