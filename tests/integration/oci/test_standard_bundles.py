"""Bundles as the field's tools write them run as they are.

Real: ``runc spec``, the console script, containerd. A ``config.json`` as umoci 0.4 unpacks it, and one as old tools
wrote it, are written down here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd, Executor
from tests.support.harness import PATIENCE, Buffer
from tests.support.probe import environment, finished, pluginexec

NOTE = "process.terminal is true, but a plugin has no terminal: taken as false"
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
UMOCI: dict[str, Any] = {
    "ociVersion": "1.0.0",
    "process": {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/bin", "TERM=xterm", "HOME=/"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "hostname": "umoci-default",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "annotations": {"org.opencontainers.image.os": "linux"},
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": type} for type in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    },
}
OLD: dict[str, Any] = {
    "OciVersion": "1.0",
    "Process": {"Terminal": True, "Args": ["sh"], "Env": ["PATH=/bin"], "Cwd": "/"},
    "Root": {"Path": "rootfs"},
    "Mounts": [
        {"Destination": "proc", "Type": "proc", "Source": "proc"},
        {"Destination": "tmp", "Type": "tmpfs", "Source": "tmpfs"},
    ],
    "Linux": {"Namespaces": [{"Type": "mount"}, {"Type": "pid"}]},
}


@pytest.fixture
def bundle(tmp_path: Path, rootfs: Path) -> Path:
    """A directory with a root file system in it."""
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "rootfs").symlink_to(rootfs)
    return path


@pytest.fixture
def px(clean_namespace: None, root_dir: Path, containerd: Containerd) -> Callable[..., tuple[int, str, str]]:
    """Run the command line to its end."""
    globals = ("--root", root_dir, "--address", containerd.address)
    return lambda *arguments: finished(pluginexec(*globals, *arguments), environment())


def write(kind: str, bundle: Path) -> None:
    """Write the ``config.json`` of a tool."""
    if kind == "runc":
        subprocess.run(["runc", "spec", "--bundle", bundle], check=True, timeout=PATIENCE)
    else:
        (bundle / "config.json").write_text(json.dumps(UMOCI if kind == "umoci" else OLD))


@pytest.mark.parametrize("kind", ["runc", "umoci", "old"])
def test_a_command_runs_in_the_bundle_as_it_was_written(
    px: Callable[..., tuple[int, str, str]], bundle: Path, kind: str, id: str
) -> None:
    write(kind, bundle)
    code, out, err = px("run", "--name", id, bundle, "sh", "-c", "grep -c ' /proc ' /proc/mounts; exit 3")
    assert (code, out) == (3, "1\n"), err
    assert err.count("\n") == err.count(NOTE) == 1


def test_the_commands_options_are_its_own(px: Callable[..., tuple[int, str, str]], bundle: Path, id: str) -> None:
    write("umoci", bundle)
    code, out, err = px("run", "--name", id, bundle, "echo", "--name", "-d")
    assert (code, out) == (0, "--name -d\n"), err


def test_create_keeps_the_command_and_start_runs_it(
    px: Callable[..., tuple[int, str, str]], bundle: Path, id: str
) -> None:
    write("umoci", bundle)
    code, _, err = px("create", "--name", id, bundle, "sh", "-c", "exit 4")
    assert (code, err.count(NOTE)) == (0, 1)
    assert px("start", id)[0] == 0
    assert px("wait", id)[1] == "4\n"


def test_the_library_runs_it_too(executor: Executor, bundle: Path, id: str) -> None:
    write("umoci", bundle)
    stdout = Buffer()
    executor.create(id, bundle, stdout)
    # Its shell reads an end of file at once.
    assert executor.wait(id, PATIENCE).exit_code == 0
    assert stdout.data == b""
