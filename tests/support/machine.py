"""Install what the tests and the demo need and this machine lacks, with apt-get where there is one.

Run it from the repository's root: ``python -m tests.support.machine``. Where nothing is missing it does nothing; where
something is missing and cannot be installed it ends with exit code 1 and one line that names it.
"""

import os
import shutil
import subprocess
import sys

from pluginexec.testing.rootfs import find_busybox

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "static busybox": "busybox-static",
    "tmux": "tmux",
    "zsh": "zsh",
    "fish": "fish",
    "ip": "iproute2",
}
INSTALL = (
    *("install", "--yes", "--no-install-recommends"),
    *("-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold"),
)


def missing() -> list[str]:
    """What of PACKAGES is not on this machine."""
    return [name for name in PACKAGES if not is_here(name)]


def is_here(name: str) -> bool:
    """Whether one of PACKAGES is on this machine."""
    return find_busybox() is not None if name == "static busybox" else shutil.which(name) is not None


def packages(names: list[str]) -> list[str]:
    """The Debian packages that hold `names`, each once."""
    return sorted({PACKAGES[name] for name in names})


def apt_get(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one apt-get command that asks nothing, as root."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    command = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def install(names: list[str]) -> str:
    """Try to install `names`; return why that failed, or nothing."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get here"
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        return "installing takes root, and there is no sudo here"
    print(f"installing with apt-get: {' '.join(packages(names))}", flush=True)
    apt_get("update")  # one that fails need not matter: the lists at hand may do
    result = apt_get(*INSTALL, *packages(names))
    if result.returncode == 0:
        return "apt-get installed the packages without them"
    lines = result.stdout.strip().splitlines()
    complaint = next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "no output")
    return f"apt-get failed with {result.returncode}: {complaint}"


def main() -> int:
    """Make the machine ready; return the exit code."""
    lacking = missing()
    if not lacking:
        return 0
    reason = install(lacking)
    lacking = missing()
    if not lacking:
        return 0
    hint = f"install {' '.join(packages(lacking))} (so called on Debian and Ubuntu) and run this again"
    print(f"this machine lacks {', '.join(lacking)}, and {reason}: {hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
