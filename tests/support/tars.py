"""Tars of bundles, with any entries."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from tests.unit.managed.test_config import LEAST

CONFIG = json.dumps(LEAST).encode()
REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
Members = list[tuple[str, bytes, dict[str, Any]]]
TOP: Members = [("config.json", REG, {"data": CONFIG}), ("rootfs", DIR, {})]


def tar_of(path: Path, members: Members, mode: str = "w") -> Path:
    """Make a tar of a configuration, ``rootfs/`` and members."""
    return raw_tar(path, [*TOP, *members], mode)


def raw_tar(path: Path, members: Members, mode: str = "w") -> Path:
    """Make a tar of members: a name, a type, and other attributes."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, kind, more in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o755
            info.uid, info.gid = os.getuid(), os.getgid()
            data = more.get("data", b"")
            info.size = len(data)
            for key in more.keys() - {"data"}:
                setattr(info, key, more[key])
            tar.addfile(info, io.BytesIO(data))
    return path
