"""What a plugin of the command line may do: seccomp, new privileges, ``--privileged``.

Real: the console script, containerd, runc, the kernel, which is asked by forbidden system calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Done, Px

STATUS = "grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status"
# A namespace of users needs no capability: only the filter forbids it.
FORBIDDEN = "busybox unshare --user true 2>/dev/null && echo allowed || echo refused"
Run = Callable[..., Done]


@pytest.fixture
def run(px: Px, rootfs: Path, new_id: Callable[[], str]) -> Run:
    """Run a shell script to its end."""
    return lambda script, *options: px("run", "--name", new_id(), *options, "--rootfs", rootfs, "sh", "-c", script)


def status(done: Done) -> dict[str, str]:
    """Return what a plugin read of its status."""
    assert done.code == 0, done.err
    fields = (line.split(":") for line in done.lines)
    return {name: value.strip() for name, value in fields}


def test_a_system_call_outside_of_containerds_profile_is_refused(run: Run) -> None:
    assert run(FORBIDDEN).out == b"refused\n"
    assert run(FORBIDDEN, "--security-opt", "seccomp=unconfined").out == b"allowed\n"


def test_the_profile_is_that_of_the_capabilities(run: Run) -> None:
    mount = "mount -t tmpfs x /tmp && echo mounted"
    assert run(mount).code != 0
    assert run(mount, "--cap-add", "SYS_ADMIN").out == b"mounted\n"
    assert run(FORBIDDEN, "--cap-drop", "ALL").out == b"refused\n"


def test_a_profile_is_asked_for_once_for_each_set_of_capabilities(
    start: Callable[..., Any], px: Px, root_dir: Path, globals: list[str], rootfs: Path, spawn: Any, id: str
) -> None:
    def asked(*options: str) -> bool:
        process = spawn(*globals, "--debug", "create", *options, "--rootfs", rootfs, "true")
        _, err = process.communicate()
        assert process.returncode == 0, err
        return b"--seccomp" in err

    assert [asked(), asked(), asked("--cap-add=SYS_ADMIN"), asked("--cap-add=SYS_ADMIN")] == [True, False, True, False]
    assert not asked("--cap-drop=SYS_ADMIN"), "which it has not"


def test_create_takes_it_too_and_a_bundle_keeps_what_it_brings(
    px: Px, rootfs: Path, tmp_path: Path, shell: Any, new_id: Callable[[], str]
) -> None:
    id, other = new_id(), new_id()
    assert px("create", "--name", id, "--rootfs", rootfs, "true").code == 0
    spec = json.loads(px("inspect", "--format", "{{json .Spec}}", id).out)
    assert spec["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    (tmp_path / "config.json").write_text(json.dumps(shell(other, STATUS)))
    assert status(px("run", "--name", other, tmp_path))["Seccomp"] == "0"


def test_a_profile_of_ones_own(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}

    def write(**condition: Any) -> None:
        file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{**rule, **condition}]}))

    write()
    done = run("mkdir /tmp/x", "--security-opt", f"seccomp={file}")
    assert b"Input/output error" in done.err
    write(excludes={"caps": ["CAP_CHOWN"]})  # docker's form
    done = run("mkdir /tmp/x && rmdir /tmp/x", "--security-opt", f"seccomp={file}")
    assert done.code == 0, done.err


def test_new_privileges_are_off_unless_they_are_asked_for(run: Run) -> None:
    assert status(run(STATUS))["NoNewPrivs"] == "1"
    assert status(run(STATUS, "--security-opt", "no-new-privileges"))["NoNewPrivs"] == "1"
    assert status(run(STATUS, "--security-opt", "no-new-privileges=false"))["NoNewPrivs"] == "0"


def test_a_privileged_plugin_may_do_what_root_may(run: Run) -> None:
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd:"))
    done = run(f"{STATUS} && mount -t tmpfs x /tmp", "--privileged")
    assert status(done) == {"Seccomp": "0", "NoNewPrivs": "1", "CapEff": own.split()[1]}
    done = run("ls /dev; cat /proc/mounts", "--privileged")
    devices = {path.name for path in Path("/dev").iterdir() if path.is_block_device() or path.is_char_device()}
    assert devices - {"console"} <= {*done.out.decode().split()}
    assert b" /proc/sys " not in done.out
    assert b"sysfs /sys sysfs rw" in done.out
    assert b" /proc/sys proc ro" in run("cat /proc/mounts").out


@pytest.mark.parametrize("value", ["seccomp", "seccomp=", "no-new-privileges=perhaps", "apparmor=x", ""])
def test_another_option_is_refused_in_one_line(px: Px, rootfs: Path, root_dir: Path, value: str) -> None:
    done = px("run", "--security-opt", value, "--rootfs", rootfs, "true")
    assert (done.code, done.out, done.err.count(b"\n")) == (125, b"", 1)
    assert b"give seccomp=unconfined, seccomp=FILE or no-new-privileges[=true|false]" in done.err
    assert not list(root_dir.iterdir())
