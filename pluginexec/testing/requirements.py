"""Whether this machine can run containers, without starting a process."""

from __future__ import annotations

import shutil
from pathlib import Path

from pluginexec.containerd.remote import Remote
from pluginexec.daemon.target import Target
from pluginexec.doctor.check import FAILURE
from pluginexec.doctor.machine_checks import INSTALL, check_cgroups, check_kernel, check_namespaces, check_user
from pluginexec.root.layout import Layout
from pluginexec.testing.options import Settings

_CHECKS = (check_user, check_kernel, check_namespaces, check_cgroups)


def missing_containerd(settings: Settings) -> str | None:
    """Return that nothing listens on the address that was given, and what to do; ``None`` if that is not so."""
    if settings.address and not Remote(settings.address).listens():
        return f"no containerd listens at {settings.address}: start it, or drop pluginexec_address"
    return None


def missing_requirement(settings: Settings) -> str | None:
    """Return why this machine cannot run containers, and what to do; ``None`` if no reason is found."""
    # A containerd that listens may have what this process lacks, but the user matters in any case.
    target = Target(settings.address, "default", Layout(Path("/"), Path("/")), None)
    for check in _CHECKS:
        found = check(target)
        if found.status == FAILURE:
            return f"{found.found}: {found.remedy}"
    private = () if settings.address else ("containerd", "containerd-shim-runc-v2")
    for program in ("ctr", settings.runtime or "runc", *private):
        if shutil.which(program) is None:
            return f"no {program} on the PATH: {INSTALL}"
    return None
