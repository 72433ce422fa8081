"""A real dockerd: Debian's package, unpacked and not installed, with plugins that it manages.

It has all that can be chosen in a directory of its own, and a mount namespace in which ``/etc`` is empty: it neither
reads this machine's configuration nor leaves its key there, and its mounts go when it goes. One path it cannot be
talked out of, ``/run/docker/plugins/ID``, which containerd's shim must see too; ``clean`` removes what was made there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pluginexec import PLUGIN_NAMESPACE, Containerd
from tests.support.debian import unpacked
from tests.support.harness import wait_until

PLUGINS = Path("/run/docker/plugins")
PLACES = ("/etc/docker", "/var/lib/docker", "/run/docker", "/run/docker/plugins", "/run/docker/netns", "/run/netns")
_SOCKET = "plugin.sock"
_LIMIT = 60.0
_IN_AN_EMPTY_ETC = ("unshare", "--mount", "--", "sh", "-c", 'mount -t tmpfs none /etc && exec "$@"', "sh")


class Dockerd:
    """A dockerd on somebody else's containerd; ``directory`` must have a short path, for the sockets in it."""

    def __init__(self, directory: Path, containerd: str) -> None:
        self._directory = directory
        self._containerd = containerd
        self._package = unpacked("docker.io")
        self._binary = self._package / "usr/sbin/dockerd"
        self._environment = {**os.environ, "LD_LIBRARY_PATH": library_path(self._binary)}
        self._environment |= {"HOME": str(directory), "DOCKER_CONFIG": str(directory)}
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: list[socket.socket] = []
        self._ids: list[str] = []
        self._strange = [path for path in (PLUGINS, PLUGINS.parent) if not path.exists()]

    @property
    def log(self) -> Path:
        """What it printed; the output of its plugins is in there."""
        return self._directory / "log"

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        own = self._directory
        (own / "daemon.json").write_text("{}")
        arguments = ["--config-file", str(own / "daemon.json"), "--data-root", str(own / "data")]
        arguments += ["--exec-root", str(own / "exec"), "--pidfile", str(own / "pid"), "--host", f"unix://{own}/socket"]
        arguments += ["--containerd", self._containerd, "--iptables=false", "--ip-forward=false", "--bridge=none"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_IN_AN_EMPTY_ETC, str(self._binary), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        wait_until(self._answers, f"dockerd's answer; its log is {self.log}")

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        try:
            self.docker("version")
        except RuntimeError:
            return False
        return True

    def docker(self, *arguments: str) -> str:
        """Run a ``docker`` command and return what it printed; ``RuntimeError`` with what it complained of."""
        argv = [str(self._package / "usr/bin/docker"), "--host", f"unix://{self._directory}/socket", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, env=self._environment, timeout=_LIMIT)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def run_plugin(self, name: str, script: str, make_rootfs: Callable[[Path], object]) -> str:
        """Make a managed plugin that runs a shell script, enable it, and return its id."""
        source = self._directory / name
        (source / "rootfs").mkdir(parents=True)
        make_rootfs(source / "rootfs")
        (source / "config.json").write_text(json.dumps(_config(script)))
        id = self.create_plugin(name, source)
        self._listen(id)
        self.docker("plugin", "enable", name)
        return id

    def create_plugin(self, name: str, bundle: Path) -> str:
        """Make a managed plugin from a bundle, and return its id."""
        self.docker("plugin", "create", name, str(bundle))
        id = self.docker("plugin", "inspect", "--format", "{{.Id}}", name)
        self._ids.append(id)
        return id

    def _listen(self, id: str) -> None:
        # dockerd dials the plugin's socket before it calls it enabled, and no applet of busybox can listen on one.
        (PLUGINS / id).mkdir(parents=True)
        listener = socket.socket(socket.AF_UNIX)
        self._sockets.append(listener)
        listener.bind(str(PLUGINS / id / _SOCKET))
        listener.listen()

    def kill(self) -> None:
        """SIGKILL it; may be called again."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()

    def clean(self) -> None:
        """End it, and remove what was made outside its directory; its plugins must have ended."""
        self.kill()
        while self._sockets:
            self._sockets.pop().close()
        while self._ids:
            shutil.rmtree(PLUGINS / self._ids.pop(), ignore_errors=True)
        for path in self._strange:
            with contextlib.suppress(OSError):  # gone, or somebody else uses it by now
                path.rmdir()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other test run has a dockerd: all of them share ``/run/docker/plugins``."""
    with (Path(tempfile.gettempdir()) / "px-dockerd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def running_dockerd(containerd: Containerd) -> Iterator[Dockerd]:
    """Run a dockerd on a containerd, when it is our turn; afterwards the machine is as it was."""
    with one_at_a_time():
        before = traces()
        directory = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))
        dockerd = Dockerd(directory, containerd.address)
        try:
            dockerd.start()
            yield dockerd
        finally:
            dockerd.kill()
            client = containerd.remote.new_client(PLUGIN_NAMESPACE)
            for id in client.tasks():
                client.delete_task(id, force=True)
            dockerd.clean()
            shutil.rmtree(directory)
        wait_until(lambda: traces() == before, f"what was before: {before}")
        assert str(directory) not in Path("/proc/self/mountinfo").read_text()


def traces() -> dict[str, object]:
    """What a dockerd may leave on a machine, outside its directory."""
    traces: dict[str, object] = {path: os.path.isdir(path) and sorted(os.listdir(path)) for path in PLACES}
    # A plugin's cgroup is called after its id, which is as long as this.
    traces["cgroups"] = sorted(path for path, _, _ in os.walk("/sys/fs/cgroup") if len(os.path.basename(path)) == 64)
    # Those of other test runs are called px...
    traces["interfaces"] = sorted(name for name in os.listdir("/sys/class/net") if not name.startswith("px"))
    traces["forwarding"] = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    return traces


def _config(script: str) -> dict[str, object]:
    return {
        "description": "a plugin of a test",
        "documentation": "",
        "entrypoint": ["sh", "-c", script],
        "workdir": "/",
        "interface": {"types": ["pluginexec.test/1.0"], "socket": _SOCKET},
        "network": {"type": "none"},
        "linux": {"capabilities": []},
        "args": {"name": "args", "value": []},
    }


def library_path(binary: Path) -> str:
    """Return a LD_LIBRARY_PATH to libraries that a binary needs and this machine lacks, unpacked from packages."""
    directories: list[str] = []
    tried: set[str] = set()
    while missing := set(missing_libraries(binary, ":".join(directories))) - tried:
        tried |= missing
        for library in sorted(missing):
            tree = unpacked(package_of(library))
            directories += sorted({str(path.parent) for path in tree.glob("**/*.so.*")})
    return ":".join(directories)


def missing_libraries(binary: Path, path: str) -> list[str]:
    """Return the libraries that the loader does not find for a binary."""
    environment = {**os.environ, "LC_ALL": "C", "LD_LIBRARY_PATH": path}
    done = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, env=environment, timeout=_LIMIT)
    return [line.split()[0] for line in done.stdout.splitlines() if line.endswith("=> not found")]


def package_of(library: str) -> str:
    """Return the Debian package of a shared library: policy names it so. ``libsystemd.so.0`` is in ``libsystemd0``."""
    name, _, version = library.partition(".so.")
    return f"{name}-{version}" if name[-1].isdigit() else f"{name}{version}"
