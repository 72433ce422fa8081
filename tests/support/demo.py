"""Run a real plugin under a real containerd, show what it says, and check that all of it came back right.

Run it from the repository's root, as root, with pluginexec installed: ``python -m tests.support.demo``.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import IO

from pluginexec.testing.rootfs import make_rootfs

SCRIPT = """
echo "this is stdout of a plugin, process $$ in its container"
echo "this is its stderr" >&2
for i in 1 2 3; do echo "working: $i of 3"; sleep 0.5; done
echo "leaving with 42" >&2
exit 42
"""
STDOUT = ["this is stdout of a plugin, process 1 in its container", *(f"working: {i} of 3" for i in (1, 2, 3))]
STDERR = ["this is its stderr", "leaving with 42"]
EXIT_CODE = 42
LIMIT = 120.0


def show(name: str, stream: IO[str], lines: list[str]) -> None:
    """Print each line of `stream` as it comes, and keep it in `lines`."""
    for line in stream:
        lines.append(line.rstrip("\n"))
        print(f"  {name} | {lines[-1]}\n", end="", flush=True)  # one write: two threads print


def run(command: list[str]) -> tuple[int, list[str], list[str]]:
    """Run `command` and show its output; return its exit code and the lines of stdout and stderr."""
    out: list[str] = []
    err: list[str] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        threads = [
            Thread(target=show, args=("stdout", process.stdout, out)),
            Thread(target=show, args=("stderr", process.stderr, err)),
        ]
        for thread in threads:
            thread.start()
        try:
            process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            print(f"no end after {LIMIT} seconds: stopping it", flush=True)
            process.terminate()
        for thread in threads:
            thread.join()
    return process.returncode, out, err


def main() -> int:
    """Run the demo; return 0 if the plugin's exit code and output came back right."""
    if os.geteuid() != 0:
        print("the demo must run as root: containers need it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="pluginexec-demo-") as name:
        directory = Path(name)
        rootfs = make_rootfs(directory / "rootfs")
        print(f"made a root file system of busybox in {rootfs}")
        pluginexec = ["pluginexec", "--root", str(directory / "state")]
        command = [*pluginexec, "run", "--rm", "--rootfs", str(rootfs), "--", "sh", "-c", SCRIPT]
        print(f"$ {shlex.join(command)}", flush=True)
        try:
            code, out, err = run(command)
        finally:  # it leaves a containerd that it had to start to the next command, and there is none
            subprocess.run([*pluginexec, "daemon", "stop", "--all"], check=True)
    print(f"exit code {code}")
    # pluginexec itself may add to stderr: that it started a containerd of its own
    good = {
        "exit code": code == EXIT_CODE,
        "stdout": out == STDOUT,
        "stderr": [line for line in err if line in STDERR] == STDERR,
    }
    for what, right in good.items():
        print(f"{what}: {'as it should be' if right else 'WRONG'}")
    return 0 if all(good.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
