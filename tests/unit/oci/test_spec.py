"""Specs: read, checked, built.

Real: the file system, and the installed ``ctr``, whose own default spec ours is compared with. No containerd runs.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument, PermissionDenied, PluginExecError
from pluginexec.oci.default_spec import default_spec
from pluginexec.oci.spec import load_spec
from tests.support.hostile import HUGE, doubled, nested

Spec = dict[str, Any]
NOBODY = 65534


@pytest.fixture(autouse=True)
def _no_reading_without_end() -> Iterator[None]:
    """End a test that hangs: several are about files that could be read for ever."""
    was = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("this hangs"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, was)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    path = tmp_path / "bundle" / "rootfs"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def spec(rootfs: Path) -> Spec:
    return {
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "env": ["A=1"], "terminal": False},
        "root": {"path": str(rootfs)},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"cgroupsPath": "/x/y", "namespaces": [{"type": "mount"}]},
        "hooks": {"prestart": [{"path": "/bin/true"}]},
        "annotations": {"org.example": "é"},
    }


@pytest.fixture
def bundle(rootfs: Path, spec: Spec) -> Path:
    write(rootfs.parent, spec, root="rootfs")
    return rootfs.parent


def write(bundle: Path, spec: Spec, *, root: str) -> None:
    (bundle / "config.json").write_text(json.dumps({**spec, "root": {"path": root}}))


def refused(source: Any, *parts: str, kind: type[PluginExecError] = InvalidArgument) -> str:
    with pytest.raises(kind) as caught:
        load_spec(source)
    return one_lowercase_line(caught.value, *parts)


def one_lowercase_line(error: PluginExecError, *parts: str) -> str:
    message = str(error)
    assert len(error.message.splitlines()) == 1, "as it was given, not as __str__ folds it"
    assert message[0].islower()
    for part in parts:
        assert part in message
    return message


# What is accepted


def test_a_dict_comes_back_equal(spec: Spec) -> None:
    assert load_spec(spec) == spec


def test_the_callers_dict_is_never_changed_nor_shared(spec: Spec) -> None:
    spec["process"]["rlimits"] = None
    spec["linux"]["cgroupsPath"] = None
    spec["root"]["path"] += "/../rootfs"
    before = copy.deepcopy(spec)
    loaded = load_spec(spec)
    loaded["process"]["args"].append("more")
    loaded["hooks"]["prestart"][0]["path"] = "/bin/false"
    assert spec == before


def test_any_mapping_will_do_and_tuples_become_lists(spec: Spec) -> None:
    spec["process"] = types.MappingProxyType({**spec["process"], "args": ("/bin/true", "x")})
    loaded = load_spec(types.MappingProxyType(spec))
    assert loaded["process"]["args"] == ["/bin/true", "x"]
    assert json.loads(json.dumps(loaded)) == loaded


def test_numbers_and_strings_of_derived_types_become_plain(spec: Spec) -> None:
    class Text(str):
        __slots__ = ()

    spec["process"]["user"] = {"uid": signal.SIGHUP}
    spec["process"]["args"] = [Text("/bin/true")]
    loaded = load_spec(spec)
    assert type(loaded["process"]["user"]["uid"]) is int
    assert type(loaded["process"]["args"][0]) is str


@pytest.mark.parametrize("form", [str, Path])
def test_a_bundle_directory_and_its_config_json_give_the_same(bundle: Path, form: Callable[[Path], Any]) -> None:
    assert load_spec(form(bundle)) == load_spec(form(bundle / "config.json"))


def test_a_relative_root_is_relative_to_the_bundle(bundle: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_spec(bundle)["root"]["path"] == str(rootfs)
    monkeypatch.chdir(bundle)
    for source in (".", "config.json", "../bundle"):
        assert load_spec(source)["root"]["path"] == str(rootfs)


def test_a_relative_root_counts_from_where_the_link_to_a_config_json_lies(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "rootfs").mkdir(parents=True)
    (other / "config.json").symlink_to(bundle / "config.json")
    assert load_spec(other)["root"]["path"] == str(other / "rootfs")


def test_the_root_is_free_of_links_because_runc_refuses_them(spec: Spec, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(rootfs.parent)
    (rootfs.parent / "link").symlink_to(rootfs)
    spec["root"]["path"] = f"{tmp_path}/link/link"
    assert load_spec(spec)["root"]["path"] == str(rootfs)


def test_what_is_not_checked_passes_untouched(spec: Spec) -> None:
    unknown: Spec = {
        "x-mine": [1, -1.5, True, None, "é", {"deep": {"er": []}}],
        "hooks": {"poststop": None},
        "hostname": "h",
    }
    loaded = load_spec({**spec, **unknown})
    assert {key: loaded[key] for key in unknown} == unknown


def test_null_counts_as_absent(spec: Spec) -> None:
    spec["process"].update(env=None, terminal=None)
    spec["mounts"] = spec["linux"]["cgroupsPath"] = None
    loaded = load_spec(spec)
    assert "mounts" not in loaded
    assert "cgroupsPath" not in loaded["linux"]
    assert not {"env", "terminal"} & loaded["process"].keys()


@pytest.mark.parametrize("how", [{"type": "bind"}, {"options": ["rbind", "ro"]}, {"type": "none", "options": ["bind"]}])
def test_a_relative_bind_source_is_relative_to_the_bundle(bundle: Path, spec: Spec, how: Spec) -> None:
    (bundle / "data").mkdir()
    spec["mounts"].append({"destination": "/data", "source": "data", **how})
    write(bundle, spec, root="rootfs")
    assert [mount["source"] for mount in load_spec(bundle)["mounts"]] == ["proc", str(bundle / "data")]


def test_a_bundle_with_any_name_works(tmp_path: Path, spec: Spec) -> None:
    bundle = tmp_path / "a 'b' \"c\" 100% & é\n"
    (bundle / "rootfs").mkdir(parents=True)
    write(bundle, spec, root="rootfs")
    assert load_spec(bundle)["root"]["path"] == str(bundle / "rootfs")


# What is refused: fields

REMOVED = object()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("ociVersion", REMOVED, "ociVersion is missing"),
        ("ociVersion", "", "ociVersion is empty"),
        ("ociVersion", 1.0, "ociVersion must be a string, not a number"),
        ("ociVersion", "latest", "ociVersion is 'latest'"),
        ("process", REMOVED, "process.args is missing"),
        ("process", [], "process must be an object, not a list"),
        ("process", "sh", "process must be an object, not a string"),
        ("process.args", REMOVED, "process.args is missing; give the command as a list of strings"),
        ("process.args", [], "process.args is empty; give the command"),
        ("process.args", "sh -c x", "process.args must be a list, not a string"),
        ("process.args", {"0": "sh"}, "process.args must be a list, not an object"),
        ("process.args", ["sh", 1], "process.args[1] must be a string, not a number"),
        ("process.args", [None], "process.args[0] must be a string, not null"),
        ("process.args", ["", "x"], "process.args[0] is empty"),
        ("process.args", ["sh", "a\0b"], "process.args[1] holds a NUL"),
        ("process.cwd", REMOVED, "process.cwd is missing; give an absolute path"),
        ("process.cwd", "tmp", "process.cwd is 'tmp'; give an absolute path"),
        ("process.cwd", ["/"], "process.cwd must be a string"),
        ("process.cwd", "/\0", "process.cwd holds a NUL"),
        ("process.terminal", "false", "process.terminal must be a boolean, not a string"),
        ("process.terminal", 0, "process.terminal must be a boolean, not a number"),
        ("process.env", {"A": "1"}, "process.env must be a list, not an object"),
        ("process.env", ["A=1", "B"], "process.env[1] is not of the form KEY=VALUE"),
        ("process.env", ["=1"], "process.env[0] is not of the form KEY=VALUE"),
        ("process.env", [True], "process.env[0] must be a string, not a boolean"),
        ("process.env", ["A=\0"], "process.env[0] holds a NUL"),
        ("root", REMOVED, "root.path is missing; give the directory"),
        ("root", "/", "root must be an object"),
        ("root.path", "", "root.path is empty"),
        ("root.path", 5, "root.path must be a string"),
        ("root.path", "rootfs", "root.path is 'rootfs', but a dict has no bundle to be relative to; make it absolute"),
        ("root.path", "/not/there", "root.path '/not/there': no such file or directory; give one that exists"),
        ("root.path", "/etc/passwd", "root.path '/etc/passwd' is not a directory"),
        ("root.path", "/etc/passwd/x", "root.path '/etc/passwd/x': not a directory"),
        ("root.path", "/\0", "root.path holds a NUL"),
        ("root.path", "/" + "x" * 300, "file name too long"),
        ("mounts", {}, "mounts must be a list"),
        ("mounts", ["/proc"], "mounts[0] must be an object, not a string"),
        ("mounts", [{"destination": "/a"}, None], "mounts[1] must be an object, not null"),
        ("mounts", [{}], "mounts[0].destination is missing"),
        ("mounts", [{"destination": ""}], "mounts[0].destination is empty; give an absolute path"),
        ("mounts", [{"destination": 1}], "mounts[0].destination must be a string"),
        ("mounts", [{"destination": "/a", "options": "ro"}], "mounts[0].options must be a list"),
        ("mounts", [{"destination": "/a", "options": [{}]}], "mounts[0].options[0] must be a string"),
        ("mounts", [{"destination": "/a", "type": 1}], "mounts[0].type must be a string"),
        ("mounts", [{"destination": "/a", "type": "bind"}], "mounts[0].source is missing"),
        (
            "mounts",
            [{"destination": "/a", "type": "bind", "source": "d"}],
            "mounts[0].source is 'd', but a dict has no",
        ),
        ("linux", [], "linux must be an object, not a list"),
        ("linux", REMOVED, "linux.namespaces has no new mount namespace"),
        ("linux.namespaces", [{"type": "mount", "path": "/proc/1/ns/mnt"}], "linux.namespaces has no new mount"),
        ("linux.namespaces", {"type": "mount"}, "linux.namespaces must be a list, not an object"),
        ("linux.cgroupsPath", 5, "linux.cgroupsPath must be a string, not a number"),
        ("annotations.n", float("nan"), "annotations.n is nan"),
        ("annotations.n", float("-inf"), "annotations.n is -inf"),
        ("annotations.n", 1 << 64, "annotations.n is an integer beyond 64 bits"),
        ("annotations.n", 10**6000, "annotations.n is an integer beyond 64 bits"),
        ("annotations.n", "\ud800", "annotations.n has a lone surrogate"),
        ("annotations.n", b"bytes", "annotations.n is a bytes, which json cannot hold"),
        ("annotations.n", [{1, 2}], "annotations.n[0] is a set, which json cannot hold"),
        ("annotations.n", Path("/"), "annotations.n is a PosixPath, which json cannot hold"),
        ("annotations.n", {1: "x"}, "annotations.n has a key of type int"),
        ("annotations.n", {"\udcff": 1}, "annotations.n.'\\udcff' has a lone surrogate"),
        ("annotations.n", {"a\nb": {1}}, "annotations.n.'a\\nb' is a set"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_field_is_named(spec: Spec, field: str, value: Any, says: str) -> None:
    *parents, last = field.split(".")
    holder = spec
    for parent in parents:
        holder = holder[parent]
    if value is REMOVED:
        del holder[last]
    else:
        holder[last] = value
    refused(spec, "spec: ", says)


def test_a_bad_field_of_a_file_is_named_with_the_file(bundle: Path, spec: Spec) -> None:
    spec["process"]["args"] = []
    write(bundle, spec, root="rootfs")
    for source in (bundle, bundle / "config.json"):
        refused(source, f"spec '{bundle}/config.json': process.args is empty")


def test_a_root_that_the_bundle_lacks_is_named(bundle: Path, rootfs: Path) -> None:
    rootfs.rmdir()
    refused(bundle, f"{bundle}/config.json", "root.path 'rootfs'", "no such file or directory")


def test_a_bind_source_that_the_bundle_lacks_is_named(bundle: Path, spec: Spec) -> None:
    spec["mounts"] = [{"destination": "/data", "type": "bind", "source": "data"}]
    write(bundle, spec, root="rootfs")
    refused(bundle, "mounts[0].source 'data'", "no such file or directory")


def test_a_loop_of_links_is_refused(spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    spec["root"]["path"] = f"{tmp_path}/loop"
    refused(spec, "root.path", "too many levels of symbolic links")
    refused(tmp_path / "loop", "too many levels of symbolic links")


def test_a_spec_that_contains_itself_is_refused(spec: Spec) -> None:
    spec["annotations"]["again"] = spec
    refused(spec, "nested deeper than 100 levels")


def test_lists_that_hold_each_other_many_times_over_are_refused(spec: Spec) -> None:
    spec["hooks"] = doubled(60)
    refused(spec, "holds over 100,000 values")


def test_a_path_of_megabytes_is_refused_at_once(spec: Spec) -> None:
    spec["root"]["path"] = "/" + "../" * 1_000_000
    refused(spec, "root.path", "file name too long")


def test_the_value_of_a_variable_is_not_told(spec: Spec) -> None:
    spec["process"]["env"] = ["hunter2"]
    assert "hunter2" not in refused(spec)


# What is refused: sources


class NoPath:
    """What says that it is a path, and is none."""

    def __fspath__(self) -> int:
        return 5


@pytest.mark.parametrize(
    "source",
    [None, 5, HUGE, b"/x", [], nested(5000), object(), "", types.SimpleNamespace(), NoPath()],
    ids=lambda source: type(source).__name__,
)
def test_what_is_neither_dict_nor_path_is_refused(source: Any) -> None:
    refused(source, "spec must be a dict or a path, not ")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not json at line 1:1: expecting value"),
        (b'{\n "a": 1,\n "b" 2}', "not json at line 3:6: expecting ':' delimiter"),
        (b'{"a": 1} x', "not json at line 1:10: extra data"),
        (b"\xef\xbb\xbf{}", "not json at line 1:1: unexpected UTF-8 BOM"),
        (b'{"a": "\xff"}', "not utf-8 at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not utf-8 at byte 0"),
        (b"[]", "must be a json object, not a list"),
        (b"null", "must be a json object, not null"),
        (b'"x"', "must be a json object, not a string"),
        (b"NaN", "is nan"),
        (b"{}", "ociVersion is missing"),
        (b'{"a": Infinity}', "a is inf"),
        (b'{"a": 1e999}', "a is inf"),
        (b'{"a": "\\ud800"}', "a has a lone surrogate"),
        (b'{"a": "\\u0000"}', "a holds a NUL"),
        (b'{"a": ' + b"9" * 30 + b"}", "a is an integer beyond 64 bits"),
        (b'{"a": ' + b"9" * 6000 + b"}", "an integer beyond 64 bits"),
        (b"[" * 200_000, "nested deeper than 100 levels"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested deeper than 100 levels"),
        (b" " * (16 << 20) + b"{}", "over 16 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_holds_no_spec_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(data)
    refused(file, f"spec '{file}': ", says)


@pytest.mark.parametrize("path", ["/not/there", "/etc/passwd/config.json", "a\0b", "\ud800", "x" * 5000])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    refused(path, "spec ", "; give a config.json, or a bundle directory with one in it")


def test_a_directory_without_config_json_is_named_as_such(tmp_path: Path) -> None:
    refused(tmp_path, f"spec '{tmp_path}/config.json': no such file or directory; give a config.json")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "config.json")
    refused(tmp_path, f"spec '{tmp_path}/config.json': not a regular file")


def test_a_refused_source_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    (tmp_path / "broken").write_text("{")
    before = len(os.listdir("/proc/self/fd"))
    refused(tmp_path)
    refused(tmp_path / "broken")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def _as_nobody(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in the bundle as a user who may read nothing of it."""
    monkeypatch.chdir(bundle)
    (bundle / "config.json").chmod(0)
    (bundle / "rootfs").chmod(0)
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(was)
    (bundle / "rootfs").chmod(0o700)


@pytest.mark.usefixtures("_as_nobody")
def test_what_this_user_may_not_read_is_permission_denied(spec: Spec, rootfs: Path) -> None:
    refused(".", "spec 'config.json': permission denied; let this user read it", kind=PermissionDenied)
    refused("config.json", "spec 'config.json': permission denied", kind=PermissionDenied)
    refused("rootfs/config.json", "spec 'rootfs/config.json': permission denied", kind=PermissionDenied)
    spec["root"]["path"] = f"{rootfs}/x"
    refused(spec, f"spec: root.path '{rootfs}/x': permission denied", kind=PermissionDenied)


def test_the_default_is_a_spec_that_loads_and_that_the_caller_may_change(rootfs: Path) -> None:
    first = default_spec(rootfs, ["/bin/true"], id="p")
    assert load_spec(first) == first
    first["linux"]["maskedPaths"].clear()
    first["mounts"][0]["options"].clear()
    first["process"]["capabilities"]["bounding"].clear()
    second = default_spec(rootfs, ["/bin/true"], id="p")
    assert second["linux"]["maskedPaths"]
    assert second["mounts"][0]["options"]
    assert second["process"]["capabilities"]["bounding"]
    assert second["process"]["capabilities"]["permitted"]


def test_the_default_runs_what_it_was_given(rootfs: Path) -> None:
    spec = default_spec(rootfs, ("/bin/sh", "-c", "x"), id="my-id", env=["A=1"], cwd="/tmp")
    assert spec["root"]["path"] == str(rootfs)
    assert spec["process"]["args"] == ["/bin/sh", "-c", "x"]
    assert spec["process"]["cwd"] == "/tmp"
    assert spec["linux"]["cgroupsPath"] == "/pluginexec/my-id"
    assert spec["ociVersion"] == "1.0.2"


def test_a_path_of_ones_own_replaces_the_default_one(rootfs: Path) -> None:
    default = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert default_spec(rootfs, ["x"], id="p")["process"]["env"] == [default]
    assert default_spec(rootfs, ["x"], id="p", env=["A=PATH="])["process"]["env"] == [default, "A=PATH="]
    assert default_spec(rootfs, ["x"], id="p", env=["A=1", "PATH=/x"])["process"]["env"] == ["A=1", "PATH=/x"]


def test_a_relative_rootfs_counts_from_the_working_directory(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rootfs)
    for relative in (".", "../rootfs", Path()):
        assert default_spec(relative, ["x"], id="p")["root"]["path"] == str(rootfs)


def test_a_relative_path_in_a_working_directory_that_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    refused("config.json", "no such file or directory")
    with pytest.raises(InvalidArgument, match="no such file or directory"):
        default_spec("rootfs", ["x"], id="p")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rootfs": "/not/there"}, "root.path '/not/there': no such file or directory"),
        ({"rootfs": "/etc/passwd"}, "is not a directory"),
        ({"rootfs": ""}, "rootfs must be a path, not ''"),
        ({"rootfs": None}, "rootfs must be a path, not None"),
        ({"rootfs": b"/"}, "rootfs must be a path, not b'/'"),
        ({"rootfs": "/\0"}, "root.path holds a NUL"),
        ({"args": "sh"}, "args must be a list of strings, not one str"),
        ({"args": None}, "args must be a list of strings, not one NoneType"),
        ({"args": []}, "process.args is empty"),
        ({"args": [1]}, "process.args[0] must be a string"),
        ({"args": range(10**30)}, "holds over 100,000 values"),
        ({"rootfs": HUGE}, "rootfs must be a path, not a value of type int"),
        ({"args": [b"sh"]}, "process.args[0] is a bytes"),
        ({"args": ["\udcff"]}, "process.args[0] has a lone surrogate"),
        ({"env": "A=1"}, "env must be a list of strings, not one str"),
        ({"env": {"A": "1"}}, "env must be a list of strings, not one dict"),
        ({"env": ["A"]}, "is not of the form KEY=VALUE"),
        ({"env": [1]}, "must be a string"),
        ({"cwd": "tmp"}, "process.cwd is 'tmp'"),
        ({"cwd": None}, "process.cwd is missing"),
        ({"id": "../x"}, "id '../x' is not allowed"),
        ({"id": ""}, "id is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_argument_of_the_default_is_named(rootfs: Path, changes: Spec, says: str) -> None:
    arguments = {"rootfs": rootfs, "args": ["/bin/true"], "id": "p", **changes}
    with pytest.raises(InvalidArgument) as caught:
        default_spec(**arguments)
    one_lowercase_line(caught.value, says)
