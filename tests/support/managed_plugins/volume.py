"""A volume plugin: each volume that is mounted is a tmpfs, in the propagated mount, where the host sees it."""

import os
from typing import Any

from server import environment, serve  # type: ignore[import-not-found]

VOLUMES = "/mnt/volumes"
_volumes: dict[str, dict[str, Any]] = {}


def _mount(what: str, path: str, *arguments: object) -> None:
    import ctypes  # not for those who never mount

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, what)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def _create(body: dict[str, Any]) -> object:
    if body.get("Opts", {}).get("refuse"):
        return {"Err": "refused, as was asked for"}
    _volumes[body["Name"]] = {"Name": body["Name"], "Mountpoint": f"{VOLUMES}/{body['Name']}"}
    return {"Err": ""}


def _remove(body: dict[str, Any]) -> object:
    del _volumes[body["Name"]]
    return {"Err": ""}


def _mounted(body: dict[str, Any]) -> object:
    path = _volumes[body["Name"]]["Mountpoint"]
    os.makedirs(path, exist_ok=True)
    _mount("mount", path, b"none", path.encode(), b"tmpfs", 0, None)
    with open(f"{path}/made-by", "w") as file:
        file.write(environment("LABEL"))
    return {"Mountpoint": path, "Err": ""}


def _unmounted(body: dict[str, Any]) -> object:
    path = _volumes[body["Name"]]["Mountpoint"]
    _mount("umount2", path, path.encode(), 0)
    return {"Err": ""}


def _get(body: dict[str, Any]) -> object:
    return {"Volume": _volumes[body["Name"]], "Err": ""}


def main() -> None:
    """Serve."""
    serve(
        "volume.sock",
        "VolumeDriver",
        {
            "VolumeDriver.Create": _create,
            "VolumeDriver.Remove": _remove,
            "VolumeDriver.Mount": _mounted,
            "VolumeDriver.Unmount": _unmounted,
            "VolumeDriver.Path": lambda body: {"Mountpoint": _volumes[body["Name"]]["Mountpoint"], "Err": ""},
            "VolumeDriver.Get": _get,
            "VolumeDriver.List": lambda body: {"Volumes": list(_volumes.values()), "Err": ""},
            "VolumeDriver.Capabilities": lambda body: {"Capabilities": {"Scope": "local"}},
        },
    )
