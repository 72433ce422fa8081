"""The doctor's checks of the machine: who we are, the kernel, and the programs that are run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import psutil

from pluginexec.containerd.ctr import Subprocesses
from pluginexec.containerd.versions import TRIED, series
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check, Place
from pluginexec.errors import PluginExecError
from pluginexec.linux import machine

NEEDED = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
    "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18, "SYS_ADMIN": 21, "MKNOD": 27,
    "AUDIT_WRITE": 29, "SETFCAP": 31,
}  # fmt: skip
"""The capabilities and their bits, each of which was taken away: without it, no plugin starts."""
CONTROLLERS = ("cpu", "freezer", "memory", "pids")
NAMESPACES = ("ipc", "mnt", "net", "pid", "uts")
LOGGER_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the logger looks, see there: it gets no PATH."""
INSTALL = "install it (Debian: apt-get install containerd runc)"
_PIDFD, _EXIT_INFO = (5, 3), (6, 15)


def check_user(place: Place) -> Check:
    """Tell whether we may do all that is needed."""
    if os.geteuid() != 0:
        return Check("user", place.needed(), f"not root, but user {os.geteuid()}", "run it as root, as with sudo")
    effective = machine.capabilities()
    missing = [name for name, bit in NEEDED.items() if not effective >> bit & 1]
    if missing:
        remedy = "run it where root has them; in a container, as with docker run --privileged"
        return Check("user", place.needed(), f"root, but without the capabilities {', '.join(missing)}", remedy)
    return Check("user", OK, "root, with the capabilities that are needed")


def check_python(place: Place) -> Check:
    """Tell which Python this is."""
    return Check("python", OK, f"{platform.python_version()} at {sys.executable}, psutil {psutil.__version__}")


def check_ctr(place: Place) -> Check:
    """Look for the one program without which nothing goes."""
    return _program("ctr", FAILURE, tried=True)


def check_containerd(place: Place) -> Check:
    """Look for what a private containerd is made of; one that listens has its own."""
    return _program("containerd", place.needed(), tried=True)


def check_shim(place: Place) -> Check:
    """Look for the shim, which containerd starts for each plugin."""
    return _program("containerd-shim-runc-v2", place.needed(), tried=True, name="shim")


def check_runc(place: Place) -> Check:
    """Look for the OCI runtime."""
    return _program("runc", place.needed(), tried=False)


def _program(program: str, if_missing: str, *, tried: bool, name: str = "") -> Check:
    found = machine.find_program(program)
    name = name or program
    if found.path is None:
        return Check(name, if_missing, f"no {program} on the PATH", INSTALL)
    if not found.version:
        return Check(name, if_missing, f"{found.path} does not tell its version", f"see what it says; or {INSTALL}")
    if tried and series(found.version) not in TRIED:
        remedy = f"use one of the series {', '.join(TRIED)}, or run pluginexec's tests on this one"
        return Check(name, WARNING, f"{found.version} at {found.path}, which was never tried", remedy)
    return Check(name, OK, f"{found.version} at {found.path}" + (", a series that was tried" if tried else ""))


def check_helpers(place: Place) -> Check:
    """Look for what the logger of each plugin, a shell, runs, and what makes ``ctr events`` die with us."""
    vital = [name for name in ("sh", "cat") if not shutil.which(name, path=LOGGER_PATH)]
    useful = [name for name in ("flock", "timeout", "sleep") if not shutil.which(name, path=LOGGER_PATH)]
    remedy = "install them (Debian: apt-get install dash coreutils util-linux)"
    if vital or not Path("/bin/sh").exists():
        return Check("helpers", FAILURE, f"no {', '.join(vital or ['/bin/sh'])} in {LOGGER_PATH}", remedy)
    if useful:
        said = f"no {', '.join(useful)} in {LOGGER_PATH}: output can be lost, or block a plugin"
        return Check("helpers", WARNING, said, remedy)
    if not _setpriv_works():
        said = "no setpriv that knows --pdeathsig: ctr events outlives a pluginexec that is killed, for a while"
        return Check("helpers", WARNING, said, "install it (Debian: apt-get install util-linux)")
    return Check("helpers", OK, "sh, cat, flock, timeout, sleep and setpriv are there")


def _setpriv_works() -> bool:
    try:
        return Subprocesses().run(["setpriv", "--pdeathsig", "KILL", "--", "true"], 5.0).returncode == 0
    except PluginExecError:
        return False


def check_kernel(place: Place) -> Check:
    """Tell whether the kernel has what is needed."""
    release = os.uname().release
    version = machine.kernel_version(release)
    if version < _PIDFD:
        return Check("kernel", FAILURE, f"{release} has no pidfds", "use Linux 5.3 or later")
    if version < _EXIT_INFO:
        return Check("kernel", OK, f"{release}; an exit code that containerd forgot is known from 6.15 on")
    return Check("kernel", OK, f"{release}; it knows exit codes that containerd forgot")


def check_cgroups(place: Place) -> Check:
    """Tell whether limits can be set, and plugins be paused."""
    version, controllers = machine.cgroup_version(), machine.cgroup_controllers()
    if not version:
        return Check("cgroups", FAILURE, "none are mounted", "mount them: mount -t cgroup2 none /sys/fs/cgroup")
    missing = [name for name in CONTROLLERS if name not in controllers]
    if missing:
        remedy = "enable them on the kernel's command line (as with cgroup_enable=memory), or do without such limits"
        return Check("cgroups", WARNING, f"version {version}, without {', '.join(missing)}", remedy)
    return Check("cgroups", OK, f"version {version}, with {', '.join(CONTROLLERS)}")


def check_namespaces(place: Place) -> Check:
    """Tell whether the kernel has the namespaces of a plugin."""
    missing = [name for name in NAMESPACES if not Path(f"/proc/self/ns/{name}").is_symlink()]
    if missing:
        return Check("namespaces", FAILURE, f"the kernel has no {', '.join(missing)}", "use a kernel that has them")
    return Check("namespaces", OK, ", ".join(NAMESPACES))


CHECKS = (
    check_user, check_python, check_ctr, check_containerd, check_shim, check_runc, check_helpers, check_kernel,
    check_cgroups, check_namespaces,
)  # fmt: skip
