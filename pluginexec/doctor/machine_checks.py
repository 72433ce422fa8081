"""Checks of the machine: the user, the programs that pluginexec runs, and the kernel."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import psutil

from pluginexec.containerd.ctr import Subprocesses
from pluginexec.containerd.programs import find_program, runtime_has_seccomp
from pluginexec.containerd.versions import TESTED, series
from pluginexec.daemon.target import Target
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check, requirement_status
from pluginexec.errors import PluginExecError
from pluginexec.linux import machine
from pluginexec.streams.shell_logger import LOGGER_PATH

NEEDED = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
    "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18, "SYS_ADMIN": 21, "MKNOD": 27,
    "AUDIT_WRITE": 29, "SETFCAP": 31,
}  # fmt: skip
"""The required capabilities and their bits; tests showed that without any one of them no plugin starts."""
CONTROLLERS = ("cpu", "freezer", "memory", "pids")
NAMESPACES = ("ipc", "mnt", "net", "pid", "uts")
INSTALL = "install it (Debian: apt-get install containerd runc)"
_PIDFD, _EXIT_INFO = (5, 3), (6, 15)


def check_user(target: Target) -> Check:
    """Check for root and the required capabilities."""
    if os.geteuid() != 0:
        return Check(
            "user", requirement_status(target), f"user {os.geteuid()}, not root", "run as root, for example with sudo"
        )
    effective = machine.capabilities()
    missing = [name for name, bit in NEEDED.items() if not effective >> bit & 1]
    if missing:
        remedy = "run where root has them; in a container, for example with docker run --privileged"
        return Check("user", requirement_status(target), f"root, without the capabilities {', '.join(missing)}", remedy)
    return Check("user", OK, "root, with the required capabilities")


def check_python(target: Target) -> Check:
    """Report the versions of Python and psutil."""
    return Check("python", OK, f"{platform.python_version()} at {sys.executable}, psutil {psutil.__version__}")


def check_ctr(target: Target) -> Check:
    """Check for ``ctr``, which everything needs."""
    return _program("ctr", FAILURE, tried=True)


def check_containerd(target: Target) -> Check:
    """Check for the program of a private containerd."""
    return _program("containerd", requirement_status(target), tried=True)


def check_shim(target: Target) -> Check:
    """Check for the shim, which containerd starts for each plugin."""
    return _program("containerd-shim-runc-v2", requirement_status(target), tried=True, name="shim")


def check_runc(target: Target) -> Check:
    """Check for the OCI runtime."""
    return _program("runc", requirement_status(target), tried=False)


def _program(program: str, if_missing: str, *, tried: bool, name: str = "") -> Check:
    result = find_program(program)
    name = name or program
    if result.path is None:
        return Check(name, if_missing, f"no {program} on the PATH", INSTALL)
    if not result.version:
        return Check(
            name,
            if_missing,
            f"{result.path} does not report its version",
            f"run it with --version to see why, or {INSTALL}",
        )
    if tried and series(result.version) not in TESTED:
        remedy = f"use a tested series ({', '.join(TESTED)}), or run pluginexec's tests on this one"
        return Check(name, WARNING, f"{result.version} at {result.path} has not been tested with pluginexec", remedy)
    return Check(name, OK, f"{result.version} at {result.path}" + (", a tested series" if tried else ""))


def check_helpers(target: Target) -> Check:
    """Check for the programs that the logger runs, and for ``setpriv``, which ends ``ctr events`` with this process."""
    required = [name for name in ("sh", "cat") if not shutil.which(name, path=LOGGER_PATH)]
    optional = [name for name in ("flock", "timeout", "sleep") if not shutil.which(name, path=LOGGER_PATH)]
    remedy = "install them (Debian: apt-get install dash coreutils util-linux)"
    if required or not Path("/bin/sh").exists():
        return Check("helpers", FAILURE, f"no {', '.join(required or ['/bin/sh'])} in {LOGGER_PATH}", remedy)
    if optional:
        message = f"no {', '.join(optional)} in {LOGGER_PATH}: output can be lost, or block a plugin"
        return Check("helpers", WARNING, message, remedy)
    if not _setpriv_works():
        message = "no setpriv with --pdeathsig: if pluginexec is killed, ctr events keeps running for a while"
        return Check("helpers", WARNING, message, "install it (Debian: apt-get install util-linux)")
    return Check("helpers", OK, "found sh, cat, flock, timeout, sleep and setpriv")


def _setpriv_works() -> bool:
    try:
        return Subprocesses().run(["setpriv", "--pdeathsig", "KILL", "--", "true"], 5.0).returncode == 0
    except PluginExecError:
        return False


def check_kernel(target: Target) -> Check:
    """Check the kernel version."""
    release = os.uname().release
    version = machine.kernel_version(release)
    if version < _PIDFD:
        return Check("kernel", FAILURE, f"{release} does not support pidfds", "use Linux 5.3 or later")
    if version < _EXIT_INFO:
        return Check(
            "kernel", OK, f"{release}; from 6.15 on, exit codes that containerd forgot can be read from the kernel"
        )
    return Check("kernel", OK, f"{release}; exit codes that containerd forgot can be read from the kernel")


def check_cgroups(target: Target) -> Check:
    """Check for the cgroup controllers that limits and pausing need."""
    version, controllers = machine.cgroup_version(), machine.cgroup_controllers()
    if not version:
        return Check("cgroups", FAILURE, "not mounted", "mount them: mount -t cgroup2 none /sys/fs/cgroup")
    missing = [name for name in CONTROLLERS if name not in controllers]
    if missing:
        remedy = "enable them on the kernel command line (such as cgroup_enable=memory), or do not use these limits"
        return Check("cgroups", WARNING, f"version {version}, without {', '.join(missing)}", remedy)
    return Check("cgroups", OK, f"version {version}, with {', '.join(CONTROLLERS)}")


def check_seccomp(target: Target) -> Check:
    """Check for the filter of system calls that plugins without a bundle get by default."""
    runtime = shutil.which("runc")
    if not machine.has_seccomp():
        reason, remedy = "the kernel has no seccomp", "use a kernel with CONFIG_SECCOMP_FILTER"
    elif runtime and not runtime_has_seccomp(runtime):
        reason, remedy = f"{runtime} is built without seccomp", "use one with libseccomp"
    else:
        return Check("seccomp", OK, "plugins without a bundle get containerd's default profile")
    return Check("seccomp", WARNING, f"{reason}: plugins may make any system call", remedy)


def check_namespaces(target: Target) -> Check:
    """Check for the namespaces that plugins need."""
    missing = [name for name in NAMESPACES if not Path(f"/proc/self/ns/{name}").is_symlink()]
    if missing:
        return Check(
            "namespaces",
            FAILURE,
            f"the kernel does not support {', '.join(missing)}",
            "use a kernel that supports them",
        )
    return Check("namespaces", OK, ", ".join(NAMESPACES))


CHECKS = (
    check_user, check_python, check_ctr, check_containerd, check_shim, check_runc, check_helpers, check_kernel,
    check_cgroups, check_namespaces, check_seccomp,
)  # fmt: skip
