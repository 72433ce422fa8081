"""The privileges that a plugin asks for, as docker lists them."""

from __future__ import annotations

from typing import Any

import pytest

from pluginexec.managed.config import load_config
from pluginexec.managed.privileges import Privilege, privileges

LEAST: dict[str, Any] = {
    "interface": {"types": ["docker.volumedriver/1.0"], "socket": "x.sock"},
    "entrypoint": ["/plugin"],
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"network": {"type": "host"}}, [("network", "host")]),
        ({"network": {"type": "bridge"}}, []),
        ({"network": {"type": "null"}}, []),
        ({"network": {"type": "none"}}, []),
        ({"ipchost": True, "pidhost": True}, [("host ipc namespace", "true"), ("host pid namespace", "true")]),
        (
            {"mounts": [{"source": "/a", "destination": "/x"}, {"source": "", "destination": "/z"}]},
            [("mount", "/a"), ("mount", "")],
        ),
        ({"mounts": [{"name": "s", "settable": ["source"], "destination": "/y"}]}, []),
        ({"linux": {"devices": [{"path": "/dev/fuse"}]}}, [("device", "/dev/fuse")]),
        ({"linux": {"devices": [{"name": "d", "settable": ["path"]}]}}, []),
        ({"linux": {"allowAllDevices": True}}, [("allow-all-devices", "true")]),
        ({"linux": {"capabilities": ["CAP_SYS_ADMIN", "CAP_BPF"]}}, [("capabilities", "CAP_SYS_ADMIN", "CAP_BPF")]),
    ],
)
def test_each_is_named_as_docker_names_it(fields: dict[str, Any], expected: list[tuple[str, ...]]) -> None:
    asked = privileges(load_config({**LEAST, **fields}))
    assert asked == [Privilege(name, values) for name, *rest in expected for values in (tuple(rest),)]
