"""What the kernel counts in cgroups. Real: containerd, containers with and without a memory limit, the cgroups.

The files of the cgroup version that this machine does not use are made by hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec.linux import cgroups
from pluginexec.linux.cgroups import (
    block_io,
    cgroup_of,
    cgroups_path_of,
    cpu_used,
    is_paused,
    memory_limit,
    memory_used,
    oom_killed,
    pids_limit,
    pids_used,
    recorded_cgroup,
    remove_cgroups,
    thaw,
)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", id="none"),
        pytest.param("pluginexec/x", id="relative to something that only the runtime knows"),
        pytest.param("system.slice:pluginexec:x", id="systemd's form"),
        pytest.param("/no-such-cgroup", id="unknown"),
        pytest.param("/no\0such", id="nul"),
        pytest.param("/no-such-\udcff", id="not UTF-8"),
        pytest.param("/" + "x" * 5000, id="too long"),
    ],
)
def test_a_path_that_leads_nowhere_tells_nothing(path: str) -> None:
    assert oom_killed(path) is None


@pytest.fixture(params=["memory/{}/memory.oom_control", "{}/memory.events"], ids=["v1", "v2"])
def fake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make the counter of a cgroup, of either version, under a mount point of the test's own."""
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path / "up" / "mount")

    # An unresolved ".." leads out only where what stands before it is there.
    (tmp_path / "up" / "mount" / request.param.format("a")).parent.mkdir(parents=True)

    def make(cgroup: str, content: str) -> None:
        file = Path(os.path.normpath(tmp_path / "up" / "mount" / request.param.format(cgroup)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode("latin-1"))

    return make


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("low 0\noom 3\noom_kill 2\noom_group_kill 0\n", True, id="two"),
        pytest.param("low 0\noom 3\noom_kill 0\noom_group_kill 4\n", False, id="none"),
        pytest.param("oom_kill_disable 0\nunder_oom 1\n", None, id="a kernel before 4.13, which does not count"),
        pytest.param("", None, id="empty"),
        pytest.param("oom_kill \xe9\n", None, id="garbage"),
    ],
)
def test_the_counter_of_kills_is_what_counts(fake: Callable[[str, str], None], content: str, expected: object) -> None:
    fake("a/b", content)
    assert oom_killed("/a/b") is expected


@pytest.mark.parametrize("path", ["/../outside", "/a/../../outside", "//../outside", "/a/../../../mount/../outside"])
def test_a_path_cannot_lead_out_of_the_cgroups(fake: Callable[[str, str], None], path: str) -> None:
    fake("../outside", "oom_kill 1\n")
    fake("../../outside", "oom_kill 1\n")
    assert oom_killed(path) is None


def test_only_empty_cgroups_of_that_path_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path)
    for name in ("memory/pluginexec/x", "pids/pluginexec/x/inner", "pluginexec/x", "memory/pluginexec/y"):
        (tmp_path / name).mkdir(parents=True)
    for path in ("/pluginexec/x", "", "/", "pluginexec/y", "/no/such\0path"):
        remove_cgroups(path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        "memory",
        "memory/pluginexec",
        "memory/pluginexec/y",
        "pids",
        "pids/pluginexec",
        "pids/pluginexec/x",
        "pids/pluginexec/x/inner",
        "pluginexec",
    }


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        pytest.param({"linux": {"cgroupsPath": "/a/b"}}, "/a/b", id="a path"),
        pytest.param({"linux": {}}, "", id="none"),
        pytest.param({}, "", id="nothing of Linux"),
        pytest.param({"linux": {"cgroupsPath": None}}, "", id="null"),
        pytest.param({"linux": None}, "", id="null for Linux"),
    ],
)
def test_the_path_is_what_the_spec_says(spec: dict[str, Any], path: str) -> None:
    assert cgroups_path_of(spec) == path


ASKED = {"linux": {"cgroupsPath": "/a/b"}}


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say in which cgroups process 7 is, and which directories of the cgroups are mounted here."""

    def make(text: str, *roots: str) -> None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "cgroup").write_text(text)
        monkeypatch.setattr(cgroups, "_PROC", tmp_path)
        monkeypatch.setattr(cgroups, "_mounted_roots", lambda: set(roots))

    return make


@pytest.mark.parametrize(
    ("text", "roots", "spec", "expected"),
    [
        pytest.param("0::/x/p\n", (), {}, {"": "/x/p"}, id="v2"),
        pytest.param(
            "3:cpu,cpuacct:/x/p\n2:name=systemd:/y\n1:memory:/own/x/p\n0::/\n",
            (),
            {"linux": {"cgroupsPath": "x/p"}},
            {"cpu": "/x/p", "cpuacct": "/x/p", "systemd": "/y", "memory": "/own/x/p"},
            id="v1, relative to another cgroup in each hierarchy",
        ),
        pytest.param(
            "0::/x:y:z\n",
            (),
            {"linux": {"cgroupsPath": "x:y:z"}},
            {"": "/x:y:z"},
            id="systemd's form",
        ),
        pytest.param("0::/a/b/init.scope\n", (), ASKED, {"": "/a/b"}, id="it moved itself further down"),
        pytest.param("0::/a/bc\n", (), ASKED, {"": "/a/bc"}, id="another one of the same beginning"),
        pytest.param("0::/docker/7/a/b\n", ("/docker/7",), ASKED, {"": "/a/b"}, id="in a container"),
        pytest.param("2:memory:/\n1:pids:/\n", (), ASKED, "/a/b", id="v1, ended and not reaped"),
        pytest.param("rubbish\n", (), ASKED, "/a/b", id="rubbish"),
    ],
)
def test_the_kernel_tells_where_a_plugin_is(
    listed: Callable[..., None], text: str, roots: tuple[str, ...], spec: dict[str, Any], expected: object
) -> None:
    listed(text, *roots)
    found = cgroup_of(7, spec)
    assert (found if isinstance(found, str) else {key: found[key] for key in found if key != "unified"}) == expected


def test_where_v2_is_beside_v1_it_is_found_and_removed_too(
    listed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path)
    for name in ("memory/x", "systemd/x", "unified/x", "pids/x"):
        (tmp_path / name).mkdir(parents=True)
    listed("2:name=systemd:/x\n1:memory:/x\n0::/x\n")
    remove_cgroups(cgroup_of(7, {}))
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/x")} == {"pids/x"}


def test_of_a_plugin_that_has_ended_there_is_what_the_spec_asked_for(listed: Callable[..., None]) -> None:
    listed("0::/x\n")
    assert cgroup_of(8, ASKED) == "/a/b"
    assert cgroup_of(8, {}) == ""


@pytest.mark.usefixtures("counters")
def test_each_hierarchy_may_have_a_path_of_its_own() -> None:
    names = ("freezer", "cpuacct", "memory", "pids", "blkio", "")
    assert [ask(dict.fromkeys(names, "/p")) for ask in QUESTIONS] == [ask("/p") for ask in QUESTIONS]
    assert [ask(dict.fromkeys(names, "/q")) for ask in QUESTIONS] == [None] * len(QUESTIONS)
    assert [ask({"cpu": "/p"}) for ask in QUESTIONS] == [None] * len(QUESTIONS)


V1 = {
    "freezer/freezer.state": "FROZEN\n",
    "cpuacct/cpuacct.usage": "123456000\n",
    "memory/memory.usage_in_bytes": "1000000\n",
    "memory/memory.stat": "cache 9\ninactive_file 7\ntotal_inactive_file 400000\n",
    "memory/memory.limit_in_bytes": "67108864\n",
    "pids/pids.current": "3\n",
    "pids/pids.max": "50\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 4608\n8:0 Total 4608\n"
    "259:0 Read 1\n259:0 Write 2\nTotal 4611\n",
}
V2 = {
    "cgroup.events": "populated 1\nfrozen 1\n",
    "cpu.stat": "usage_usec 123456\nuser_usec 1\nsystem_usec 2\n",
    "memory.current": "1000000\n",
    "memory.stat": "anon 1\ninactive_file 400000\nactive_file 3\n",
    "memory.max": "67108864\n",
    "pids.current": "3\n",
    "pids.max": "50\n",
    "io.stat": "8:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=9 dios=9\n259:0 rbytes=1 wbytes=2 rios=1 wios=1\n",
}
QUESTIONS = (is_paused, cpu_used, memory_used, memory_limit, pids_used, pids_limit, block_io)


@pytest.fixture(params=[V1, V2], ids=["v1", "v2"])
def counters(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the files of cgroup ``/p`` under a mount point of the test's own: a machine has one version."""
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path)
    for name, content in request.param.items():
        hierarchy, _, file = name.rpartition("/")
        directory = tmp_path / hierarchy / "p"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(content)
    return tmp_path


@pytest.mark.usefixtures("counters")
def test_both_versions_count_the_same() -> None:
    assert [ask("/p") for ask in QUESTIONS] == [True, 123456000, 600000, 67108864, 3, 50, (4097, 514)]


@pytest.mark.parametrize("path", ["p", "", "/q", "/p\0"])
@pytest.mark.usefixtures("counters")
def test_nothing_is_known_of_another_path(path: str) -> None:
    assert [ask(path) for ask in QUESTIONS] == [None] * len(QUESTIONS)


def test_what_is_no_number_is_not_known(counters: Path) -> None:
    for file in counters.rglob("*.*"):
        file.write_text("max\n")
    assert [ask("/p") for ask in QUESTIONS] == [False, None, None, None, None, None, (0, 0)]


def test_memory_is_never_less_than_nothing(counters: Path) -> None:
    (stat,) = counters.rglob("memory.stat")
    stat.write_text("total_inactive_file 2000000\ninactive_file 2000000\n")
    assert memory_used("/p") == 1000000
    stat.write_text("")
    assert memory_used("/p") == 1000000


def test_a_running_plugin_is_not_paused_in_either_version(counters: Path) -> None:
    for file in (*counters.rglob("freezer.state"), *counters.rglob("cgroup.events")):
        file.write_text({"freezer.state": "THAWED\n", "cgroup.events": "populated 1\nfrozen 0\n"}[file.name])
    assert is_paused("/p") is False


@pytest.mark.parametrize(("file", "text"), [("freezer/pe/x/freezer.state", "THAWED"), ("pe/x/cgroup.freeze", "0")])
def test_a_cgroup_is_thawed_by_the_file_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str
) -> None:
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    for path in ("/pe/x", "pe/x", "/pe/no-such", "/pe/no\0such", "", "/"):
        thaw(path)
    assert (tmp_path / file).read_text() == text
    assert not (tmp_path / "pe/no-such").exists()


@pytest.mark.parametrize(
    ("text", "cgroup"),
    [
        (
            '{"cgroup_paths": {"memory": "/sys/fs/cgroup/memory/a/b", "cpu": "/sys/fs/cgroup/cpu,cpuacct/a"}}',
            {"memory": "/a/b", "cpu": "/a"},
        ),
        ('{"cgroup_paths": {"": "/sys/fs/cgroup/a/b"}}', {"": "/a/b"}),
        ('{"cgroup_paths": {"memory": "/elsewhere"}}', ""),
        ('{"cgroup_paths": {"memory": 1}}', ""),
        ('{"cgroup_paths": []}', ""),
        ("{}", ""),
        ("[]", ""),
        ("", ""),
    ],
)
def test_the_runtime_has_recorded_where_a_plugin_that_has_ended_was(tmp_path: Path, text: str, cgroup: object) -> None:
    (tmp_path / "state.json").write_text(text)
    assert recorded_cgroup(tmp_path / "state.json") == cgroup
    assert recorded_cgroup(tmp_path / "missing") == ""
