"""The managed plugins of a root on disk.

Real: the files, the locks. No containerd: nothing is started.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pluginexec.errors import AlreadyExists, DeadlineExceeded, InvalidArgument, NotFound, PluginExecError
from pluginexec.host.managed import store as managedstore
from pluginexec.host.managed.store import Managed, ManagedStore, check_name
from pluginexec.host.records import Record, Records
from pluginexec.linux import trees
from pluginexec.linux.locks import take_lock
from tests.support.deep import deep_directory, nest
from tests.support.harness import PATIENCE
from tests.support.layouts import one_directory
from tests.support.managed_plugins.bundles import make_bundle

NOW = datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=timezone.utc)


@pytest.fixture
def store(root_dir: Path) -> ManagedStore:
    return ManagedStore(one_directory(root_dir))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle", "volume")


@pytest.fixture
def vol(store: ManagedStore, bundle: Path) -> str:
    store.create(Managed("vol", NOW), bundle)
    return "vol"


def left(store: ManagedStore) -> list[str]:
    """What is in the directory of all, but for the lock."""
    return sorted(path.name for path in (store.layout.root / "managed").glob("*") if path.is_dir())


def test_a_plugin_comes_back_as_it_was_created(store: ManagedStore, bundle: Path) -> None:
    managed = Managed("vol", NOW, "on-failure:3", "json-file", {"max-size": "1m"})
    store.create(managed, bundle)
    assert store.managed("vol") == managed
    assert store.config("vol").types == ("docker.volumedriver/1.0",)
    assert store.settings("vol").env == ["LABEL=none"]
    assert store.implements("vol") is None
    assert (store.files("vol").rootfs / "plugin" / "volume.py").is_file()
    assert store.names() == left(store) == ["vol"]
    assert (bundle / "rootfs").exists()


@pytest.mark.parametrize("broken", ["config.json", "rootfs", "fields"])
def test_of_a_wrong_bundle_nothing_is_left(store: ManagedStore, bundle: Path, broken: str) -> None:
    if broken == "fields":
        (bundle / "config.json").write_text(json.dumps({"entrypoint": [], "interface": {"types": ["x"]}}))
        said = "entrypoint is empty.*types.0. is 'x'|types.0. is 'x'.*entrypoint is empty"
    else:
        (bundle / broken).rename(bundle / "elsewhere")
        said = f"no {broken}|{broken}.*no such"
    with pytest.raises(InvalidArgument, match=said):
        store.create(Managed("vol", NOW), bundle)
    assert store.names() == left(store) == []


def test_a_name_that_is_taken_is_refused_and_its_plugin_untouched(
    store: ManagedStore, vol: str, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", "authz")
    with pytest.raises(AlreadyExists, match="create 'vol': plugin already exists"):
        store.create(Managed(vol, NOW), other)
    assert store.config(vol).socket == "volume.sock"
    assert left(store) == ["vol"]
    Records(store.layout).create(Record("plain", NOW, "/a", "n", ["true"]), {})
    with pytest.raises(AlreadyExists, match="this id belongs to a plugin that is not managed"):
        store.create(Managed("plain", NOW), other)
    assert left(store) == ["vol"]


def test_of_two_that_create_one_name_at_the_same_time_one_does(store: ManagedStore, bundle: Path) -> None:
    together, results = threading.Barrier(2), list[str]()

    def create() -> None:
        together.wait(PATIENCE)
        try:
            store.create(Managed("vol", NOW), bundle)
            results.append("created")
        except PluginExecError as error:
            results.append(type(error).__name__)

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(results) == ["AlreadyExists", "created"]
    assert left(store) == ["vol"]


def test_what_a_killed_command_has_left_goes_and_what_is_being_made_stays(
    store: ManagedStore, bundle: Path, vol: str
) -> None:
    managed = store.layout.root / "managed"
    for name in (".killed", ".early", ".busy"):
        (managed / name / "bundle").mkdir(parents=True)
    (managed / ".killed" / "lock").touch()
    lock = take_lock(managed / ".busy" / "lock")
    assert lock is not None
    try:
        with store.changing(vol):
            assert left(store) == [".busy", "vol"]
    finally:
        os.close(lock)
    store.create(Managed("other", NOW), bundle)
    assert left(store) == ["other", "vol"]


def test_nothing_is_deleted_while_something_stays_mounted(
    store: ManagedStore, vol: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(managedstore, "unmount_below", lambda directory: False)
    with store.changing(vol):
        store.remove(vol)
    assert "something is still mounted below" in caplog.text
    (remains,) = left(store)
    assert (store.layout.root / "managed" / remains / "bundle" / "config.json").exists()
    monkeypatch.undo()
    store._remove_drafts()
    assert left(store) == []


def test_a_deep_tree_of_one_plugin_stops_no_command(bundle: Path) -> None:
    with deep_directory() as root:
        store = ManagedStore(one_directory(root))
        for name in ("deep", "other"):
            store.create(Managed(name, NOW), bundle)
        for inner in ("bundle/rootfs", "exec", "propagated-mount"):
            (store.files("deep").directory / inner).mkdir(exist_ok=True)
            nest(store.files("deep").directory / inner, 1500)
        with store.changing("deep"):
            store.remove("deep")
        nest(root / "managed", 1500, ".killed")
        with store.changing("other"):
            store.remove("other")
        store.create(Managed("next", NOW), bundle)
        assert left(store) == ["next"]


def test_what_cannot_be_removed_stops_no_command_and_is_logged_once(
    store: ManagedStore, bundle: Path, vol: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (store.files(vol).rootfs / "immutable").touch()
    unlink = os.unlink

    def refusing(path: str | Path, *, dir_fd: int | None = None) -> None:
        if path == "immutable":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refusing)
    with store.changing(vol):
        store.remove(vol)
    store.create(Managed("other", NOW), bundle)
    with store.changing("other"):
        store.remove("other")
    (message,) = caplog.messages
    assert message.endswith(": 'immutable': Operation not permitted")
    assert store.names() == []
    monkeypatch.undo()
    store._remove_drafts()
    assert left(store) == []


def test_a_plugin_can_be_removed_from_a_full_disk(
    store: ManagedStore, vol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for function in ("mkdir", "mkfifo", "mknod", "symlink", "link"):
        monkeypatch.setattr(os, function, full)
    with store.changing(vol):
        store.remove(vol)
    assert left(store) == []


def test_while_a_draft_is_removed_other_commands_go_on(
    store: ManagedStore, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.layout.root / "managed" / ".killed").mkdir(parents=True)
    (store.layout.root / "managed" / ".killed" / "lock").touch()
    seen = list[object]()

    def slow(path: Path) -> bool:
        if path.name == ".killed" and not seen:
            seen.append(None)
            store.create(Managed("other", NOW), bundle)
        return trees_remove(path)

    trees_remove = trees.remove
    monkeypatch.setattr(managedstore, "_LOCK_TIMEOUT", 0.0)
    monkeypatch.setattr(trees, "remove", slow)
    store._remove_drafts()
    assert seen
    assert left(store) == ["other"]


def test_one_at_a_time_changes_a_plugin(store: ManagedStore, vol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managedstore, "_LOCK_TIMEOUT", 0.0)
    said = pytest.raises(DeadlineExceeded, match="another process is at work on it")
    with store.changing(vol), said, ManagedStore(store.layout).changing(vol):
        pass


def test_the_lock_of_a_plugin_that_was_removed_meanwhile_is_not_taken_for_that_of_the_next(
    store: ManagedStore, bundle: Path, vol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        store.remove(vol)
        store.create(Managed(vol, NOW), bundle)
        fcntl.flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(NotFound, match="no such managed plugin"), store.changing(vol):
        pass


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vieux/sshfs:latest", "contains '/' or ':', which an id cannot"),
        ("a:b", "contains '/' or ':'"),
        ("a b", "is not allowed"),
        ("", "is empty"),
        ("help", "cannot be used"),
    ],
)
def test_names_are_ids(name: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(said)):
        check_name(name)


def test_the_refusal_of_a_docker_name_says_what_to_use() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_name("vieux/sshfs:latest")
    assert refused.value.hint == "use 'vieux-sshfs'"


def test_the_beginning_of_a_name_is_enough(store: ManagedStore, bundle: Path, vol: str) -> None:
    assert store.resolve("v") == vol
    store.create(Managed("very", NOW), bundle)
    with pytest.raises(InvalidArgument, match="the beginning of 2"):
        store.resolve("v")
    with pytest.raises(NotFound, match="no such managed plugin: 'x'"):
        store.resolve("x")
