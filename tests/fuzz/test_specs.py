"""Specs, as hypothesis and the mutator make them: refused with an error of the tree, or fit to be run.

Real: the file system. What is mutated is the spec that ``default_spec`` makes, which is that of ``ctr oci spec``.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginexec import PluginExecError, default_spec, load_spec
from pluginexec.root.plugin_files import PluginFiles
from tests.fuzz.cases import answer, feed, many
from tests.support.hostile import HUGE, doubled, nested

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(300)]

Spec = dict[str, Any]
# The fields that are checked, and some that are not.
FIELDS = [
    *("ociVersion", "process", "process.args", "process.args.0", "process.cwd", "process.env", "process.env.0"),
    *("process.terminal", "process.user", "process.rlimits.0.hard", "root", "root.path", "mounts", "mounts.0"),
    *("mounts.0.destination", "mounts.0.type", "mounts.0.source", "mounts.0.options", "mounts.0.options.0", "linux"),
    *("linux.namespaces", "linux.namespaces.0", "linux.namespaces.3", "linux.cgroupsPath", "linux.resources", "hooks"),
]


ODD = [
    *(None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 1 << 63, 1 << 64, HUGE, -HUGE, b"", (), ...),
    *("", "/", "/proc", "1.0.2", "A=1", "bind", "rbind", "mount", "\0", "\ud800", "\x1b[2J", "../" * 99, "/x" * 3000),
    *(object, object(), {1}, {1: 2}, {"\0": 1}, {"type": "mount"}, {"path": "/"}, {"path": 1}, [None], ["a", 1], [[]]),
    *(nested(90), nested(101), nested(5000), doubled(3)),
]
values = st.one_of(st.sampled_from(ODD), st.sampled_from(ODD), st.integers(), st.text(max_size=6))
changes = st.lists(st.tuples(st.sampled_from(FIELDS), values), min_size=1, max_size=2)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    return tmp_path / "rootfs"


@pytest.fixture
def files(tmp_path: Path) -> PluginFiles:
    return PluginFiles(tmp_path / "containers" / "p")


@pytest.fixture
def good(rootfs: Path) -> Spec:
    return default_spec(rootfs, ["/bin/true"], id="p", env=["A=1"])


def change(spec: Spec, field: str, value: Any) -> None:
    """Change one field, if it is still there to be changed."""
    inner: Any = spec
    *parents, last = field.split(".")
    try:
        for parent in parents:
            inner = inner[int(parent) if parent.isdigit() else parent]
        inner[int(last) if last.isdigit() else last] = value
    except (KeyError, IndexError, TypeError):
        return


def texts(value: Any) -> Iterator[str]:
    """Return all that is text in a value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from texts(inner)


def check_answer(result: Spec | PluginExecError, files: PluginFiles) -> None:
    """Check that what was accepted reaches ``ctr`` as it is."""
    if isinstance(result, PluginExecError):
        return
    json.dumps(result, allow_nan=False, ensure_ascii=False).encode()
    assert not any("\0" in text for text in texts(result)), "no path and no argument can hold it"
    files.make(result)
    assert files.read_spec() == result


@many
@given(changes)
def test_whatever_a_dict_holds_it_is_refused_by_the_tree_or_fit_to_be_run(
    good: Spec, files: PluginFiles, changes: list[tuple[str, Any]]
) -> None:
    spec = copy.deepcopy(good)
    for field, value in changes:
        change(spec, field, value)
    check_answer(answer(lambda: load_spec(spec)), files)


def test_whatever_befell_a_config_json_it_is_refused_by_the_tree_or_fit_to_be_run(
    dice: random.Random, good: Spec, rootfs: Path, files: PluginFiles
) -> None:
    bundle = rootfs.parent
    relative = good | {
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/x", "type": "bind", "source": "rootfs"}],
    }
    small = {**good, "mounts": [], "linux": {"namespaces": [{"type": "mount"}]}}
    corpus = [json.dumps(spec, indent=indent).encode() for spec in (good, relative, small) for indent in (None, 1)]

    def check(config: bytes) -> None:
        (bundle / "config.json").write_bytes(config)
        check_answer(answer(lambda: load_spec(dice.choice((bundle, str(bundle / "config.json"))))), files)

    feed(dice, corpus, check)


@many
@given(st.sampled_from(["rootfs", "args", "id", "env", "cwd"]), values, st.booleans())
def test_whatever_the_default_is_asked_for_it_is_refused_by_the_tree_or_fit_to_be_run(
    rootfs: Path, files: PluginFiles, name: str, value: Any, listed: bool
) -> None:
    arguments: Spec = {"rootfs": rootfs, "args": ["/bin/true"], "id": "p", name: [value, value] if listed else value}
    check_answer(answer(lambda: default_spec(**arguments)), files)


def test_whatever_befell_the_arguments_of_the_default_they_are_refused_or_fit_to_be_run(
    dice: random.Random, rootfs: Path, files: PluginFiles
) -> None:
    corpus = [b"p", b"/", b"sh", b"A=1", b"-c", b"echo $HOME", str(rootfs).encode()]

    def check(case: bytes) -> None:
        text = case.decode(errors=dice.choice(("replace", "surrogateescape", "ignore")))
        arguments: Spec = {"rootfs": rootfs, "args": ["/bin/true", text], "id": "p", "env": ["A=1"], "cwd": "/"}
        name = dice.choice(list(arguments))
        arguments[name] = [text, text] if isinstance(arguments[name], list) else text
        check_answer(answer(lambda: default_spec(**arguments)), files)
        answer(lambda: load_spec(text))

    feed(dice, corpus, check)
