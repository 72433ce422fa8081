"""Makes the bundles of the plugins: ``config.json``, and a root file system that the host's Python is bound into.

A compiler is not on every machine, a Python is: the one that runs the tests, wherever it lives. It is seen in the
plugin under its own path, because it finds its library from there, and with the shared libraries that it needs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_DIRECTORIES = ("dev", "etc", "mnt/volumes", "proc", "run/docker/plugins", "run/docker/logging", "srv", "sys", "tmp")
# Modules of C that the plugins import, where Python does not have them built in; others may need many libraries.
_MODULES = ("_ctypes", "_json", "_socket", "_struct", "math", "select")
_START = "import sys; sys.path.append('/plugin'); import {name}; {name}.main()"
_SETTINGS: dict[str, dict[str, Any]] = {
    "volume": {
        "interface": {"types": ["docker.volumedriver/1.0"], "socket": "volume.sock"},
        "env": [{"name": "LABEL", "description": "", "settable": ["value"], "value": "none"}],
        "args": {"name": "args", "description": "", "settable": ["value"], "value": ["--first"]},
        "propagatedmount": "/mnt/volumes",
        "network": {"type": ""},
        "linux": {
            "capabilities": ["CAP_SYS_ADMIN"],
            "devices": [{"name": "disk", "description": "", "settable": ["path"], "path": "/dev/full"}],
        },
        "mounts": [
            {
                "name": "state",
                "description": "",
                "settable": ["source"],
                "source": "/tmp",
                "destination": "/srv",
                "type": "bind",
                "options": ["rbind", "ro"],
            }
        ],
    },
    "logdriver": {
        "interface": {"types": ["docker.logdriver/1.0"], "socket": "log.sock"},
        "network": {"type": "none"},
        "pidhost": True,
        "workdir": "/tmp",
        "linux": {"capabilities": []},
    },
    "authz": {
        "interface": {"types": ["docker.authz/1.0"], "socket": "authz.sock"},
        "env": [{"name": "DENIED", "description": "", "settable": ["value"]}],
        "user": {"uid": 1234, "gid": 4321},
        "network": {"type": "host"},
        "ipchost": True,
        "linux": {"capabilities": ["CAP_NET_ADMIN", "CAP_CHOWN"], "allowAllDevices": True},
    },
}
PLUGINS = tuple(_SETTINGS)
"""What the plugins are called."""


def make_bundle(directory: Path, name: str, **changes: Any) -> Path:
    """Make the bundle of a plugin in a directory, which is made; ``changes`` are fields of its configuration."""
    config = plugin_config(name)
    config.update(changes)
    rootfs = directory / "rootfs"
    for each in _DIRECTORIES:
        (rootfs / each).mkdir(parents=True)
    (rootfs / "plugin").mkdir()
    for file in ("server.py", f"{name}.py"):
        shutil.copy(_HERE / file, rootfs / "plugin" / file)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def plugin_config(name: str) -> dict[str, Any]:
    """Return the configuration of a plugin."""
    config: dict[str, Any] = json.loads(json.dumps(_SETTINGS[name]))  # a copy
    config |= {"description": f"the {name} plugin of the tests", "documentation": ""}
    config["entrypoint"] = python_command(_START.format(name=name))
    config["mounts"] = [*config.get("mounts", []), *(_bound(path) for path in python_files())]
    return config


def python_command(script: str) -> list[str]:
    """Return an entrypoint that runs a script."""
    return [os.path.realpath(sys.executable), "-I", "-S", "-c", script]


def _bound(path: str) -> dict[str, Any]:
    bind = {"type": "bind", "source": path, "destination": path, "options": ["rbind", "ro"]}
    return {"name": "", "description": "", "settable": [], **bind}


@cache
def python_files() -> tuple[str, ...]:
    """Return the paths, files and directories, that this Python needs to run in an empty root file system."""
    python = os.path.realpath(sys.executable)
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    library = {sysconfig.get_path(name, vars=_installed(base)) for name in ("stdlib", "platstdlib")}
    modules = [str(path) for each in sorted(library) for name in _MODULES for path in Path(each).glob(f"*/{name}.*.so")]
    needed = {path for each in (python, *modules) for path in _libraries(each)}
    inside = tuple(f"{each}/" for each in library)
    return (python, *sorted(library), *sorted(path for path in needed if not path.startswith(inside)))


def _installed(base: dict[str, str]) -> dict[str, str]:
    return {"installed_base": base["base"], "installed_platbase": base["platbase"], **base}


def _libraries(binary: str) -> set[str]:
    """Return the shared libraries that a binary needs, its loader among them, as the loader finds them."""
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(["ldd", binary], capture_output=True, text=True, env=environment, timeout=60)
    words = (word for line in done.stdout.splitlines() for word in line.partition("=>")[2].split() or line.split())
    return {word for word in words if word.startswith("/")}
