"""The same bundles under a real dockerd and under us: the same spec, but for differences that have a reason; the same
answers.

Real: Debian's dockerd and its command line, a containerd for both, three plugins.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, ManagedPlugin, PluginExecError
from pluginexec.managed.client import call
from tests.conftest import private_containerd
from tests.support.dockerd import PLUGINS as PLUGINS_OF_DOCKER
from tests.support.dockerd import Dockerd, running_dockerd
from tests.support.managed_plugins.bundles import PLUGINS, make_bundle

log = logging.getLogger(__name__)

NEWER = r"linux\.maskedPaths\[(/proc/interrupts|/sys/devices/virtual/powercap|/sys/devices/system/cpu/.*)\]"
EXPLAINED = {
    r"ociVersion": "docker's is that of the library it was built with, a development version of 1.0.2",
    r"root\.path": "docker runs a copy of the bundle, we run the bundle",
    r"mounts\[/run/docker/plugins\]\.source": "docker's is one for all its plugins, ours is under the executor's root",
    r"mounts\[/mnt/volumes\]\.source": "docker's is beside its copy of the bundle, ours is under the executor's root",
    r"annotations\.pluginexec\.start": "the mark by which we know our own container after a failed start",
    r"linux\.cgroupsPath": "containerd's default would be a path that we cannot find, and so not ask about memory",
    NEWER: "docker 25 and 27 mask these too",
    r"process\.capabilities\.\w+\.count\[CAP_CHOWN\]": "docker names twice what it gives anyway",
    r"process\.user\.(uid|gid)": "docker ignores the configuration's user, we do not",
}
"""Why a field differs: patterns of flattened names."""
CALLS: dict[str, list[tuple[str, object]]] = {
    "volume": [
        ("Plugin.Activate", None),
        ("VolumeDriver.Create", {"Name": "a", "Opts": {}}),
        ("VolumeDriver.Create", {"Name": "b", "Opts": {"refuse": "1"}}),
        ("VolumeDriver.Mount", {"Name": "a", "ID": "1"}),
        ("VolumeDriver.List", {}),
        ("VolumeDriver.Unmount", {"Name": "a", "ID": "1"}),
        ("VolumeDriver.Remove", {"Name": "a"}),
        ("VolumeDriver.Get", {"Name": "a"}),
        ("VolumeDriver.Capabilities", {}),
        ("Nonsense", {}),
    ],
    "logdriver": [("Plugin.Activate", None), ("LogDriver.Capabilities", {}), ("LogDriver.StopLogging", {"File": "/x"})],
    "authz": [
        ("Plugin.Activate", None),
        ("AuthZPlugin.AuthZReq", {"RequestUri": "/v1/secrets"}),
        ("AuthZPlugin.AuthZReq", {"RequestUri": "/v1/info"}),
        ("AuthZPlugin.AuthZRes", {}),
    ],
}
SETTINGS = {"volume": ["LABEL=set", "args=--one --two", "disk.path=/dev/zero"], "authz": ["DENIED=/v1/secrets"]}


@dataclass
class Seen:
    """One plugin as docker ran it, and as we did: its specs, and its answers."""

    specs: tuple[dict[str, Any], dict[str, Any]]
    answers: tuple[list[object], list[object]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """All plugins under both, with the same settings and calls."""
    directory = tmp_path_factory.mktemp("dockerd")
    with (
        private_containerd() as containerd,
        Executor(directory / "root", containerd.remote) as executor,
        running_dockerd(containerd) as dockerd,
    ):
        yield {name: run_under_both(name, directory, containerd, executor, dockerd) for name in PLUGINS}


def run_under_both(name: str, directory: Path, containerd: Containerd, executor: Executor, dockerd: Dockerd) -> Seen:
    """Run a plugin under docker, then under us."""
    bundle, settings = make_bundle(directory / name, name), SETTINGS.get(name, [])
    id = dockerd.create_plugin(name, bundle)
    if settings:
        dockerd.docker("plugin", "set", name, *settings)
    theirs = timed(lambda: dockerd.docker("plugin", "enable", name))
    spec = spec_of(containerd, id)
    answers = answers_of(name, PLUGINS_OF_DOCKER / id / spec_socket(bundle))
    dockerd.docker("plugin", "disable", name)
    plugin = ManagedPlugin(executor, bundle, settings=settings)
    ours = timed(plugin.enable)
    log.info("%s: docker plugin enable took %.0f ms, enable() %.0f ms", name, 1000 * theirs, 1000 * ours)
    try:
        return Seen((spec, spec_of(containerd, plugin.id)), (answers, answers_of(name, plugin.socket)))
    finally:
        plugin.remove()


def timed(do: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    begun = time.monotonic()
    do()
    return time.monotonic() - begun


def spec_socket(bundle: Path) -> str:
    """Return the name of a plugin's socket."""
    return str(json.loads((bundle / "config.json").read_text())["interface"]["socket"])


def spec_of(containerd: Containerd, id: str) -> dict[str, Any]:
    """Return the spec of a container, as containerd has it."""
    argv = ["ctr", "-a", containerd.address, "-n", PLUGIN_NAMESPACE, "containers", "info", "--spec", id]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    spec: dict[str, Any] = json.loads(done.stdout)
    return spec


def answers_of(name: str, socket: Path) -> list[object]:
    """Return what a plugin answers to its calls, or how it complains."""
    answers: list[object] = []
    for method, body in CALLS[name]:
        try:
            answers.append(call(socket, method, body))
        except PluginExecError as error:
            answers.append((type(error).__name__, error.message))
    return answers


def flattened(value: Any, name: str = "") -> dict[str, object]:
    """Return the fields of a spec by names; what is in a list is named by what it is, and its order is a field too."""
    if isinstance(value, dict):
        found = {}
        for key, inner in value.items():
            found.update(flattened(inner, f"{name}.{key}".lstrip(".")))
        return found
    if not isinstance(value, list) or not value:
        return {name: value}
    if name in ("process.args", "process.env") or name.endswith((".options", "resources.devices")):
        return {name: value}
    found = {}
    for inner in value:
        key = inner if isinstance(inner, str) else inner.get("destination") or inner.get("path") or inner.get("type")
        found.update(flattened(inner, f"{name}[{key}]"))
        if isinstance(inner, str) and value.count(inner) > 1:
            found[f"{name}.count[{key}]"] = value.count(inner)
    if name == "mounts":
        found[f"{name}.order"] = [inner["destination"] for inner in value]
    return found


def differences(seen: Seen) -> dict[str, tuple[object, object]]:
    """Return the fields that are not the same: docker's value and ours, each ``None`` where there is none."""
    theirs, ours = (flattened(spec) for spec in seen.specs)
    return {
        name: (theirs.get(name), ours.get(name))
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    }


@pytest.mark.parametrize("name", PLUGINS)
def test_the_spec_is_dockers_but_for_what_has_a_reason(seen: dict[str, Seen], name: str) -> None:
    found = differences(seen[name])
    unexplained = {
        field: values for field, values in found.items() if not any(re.fullmatch(each, field) for each in EXPLAINED)
    }
    assert unexplained == {}


def test_each_reason_is_needed(seen: dict[str, Seen]) -> None:
    found = {field for each in seen.values() for field in differences(each)}
    idle = {each for each in EXPLAINED if not any(re.fullmatch(each, field) for field in found)}
    assert idle <= {NEWER}


@pytest.mark.parametrize("name", PLUGINS)
def test_the_same_calls_have_the_same_answers(seen: dict[str, Seen], name: str) -> None:
    theirs, ours = seen[name].answers
    assert ours == theirs
    assert len(ours) == len(CALLS[name])


@pytest.mark.parametrize("name", PLUGINS)
def test_the_same_settings_are_those_of_the_process(seen: dict[str, Seen], name: str) -> None:
    for spec in seen[name].specs:
        for pair in SETTINGS.get(name, []):
            if pair.split("=")[0].isupper():
                assert pair in spec["process"]["env"]
