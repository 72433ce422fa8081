"""Archives of images, of OCI's layout, made by hand: what a test wants to be in them is in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluginexec.images.config import this_platform
from pluginexec.testing.rootfs import find_busybox

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DIRECTORIES = ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/app")
APPLETS = ("sh", "id", "ls", "cat", "env", "sleep", "echo", "pwd", "touch", "true", "rm", "stat")
PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"
GROUP = "root:x:0:\nwheel:x:10:root\napp:x:1001:\nextra:x:1002:app\n"


def layer(files: Mapping[str, bytes | str | None], links: Mapping[str, str] | None = None) -> bytes:
    """Return a layer as a tar; a text is a file (0644), bytes are a program (0755), ``None`` is a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
                continue
            entry.mode = 0o755 if isinstance(content, bytes) else 0o644
            data = content if isinstance(content, bytes) else content.encode()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


def busybox_layer() -> bytes:
    """Return a layer with a shell, users and groups."""
    busybox = find_busybox()
    assert busybox
    directories: dict[str, bytes | str | None] = dict.fromkeys(
        ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/app")
    )
    files: dict[str, bytes | str | None] = {
        "bin/busybox": busybox.read_bytes(),
        "etc/passwd": PASSWD,
        "etc/group": GROUP,
    }
    return layer({**directories, **files}, {f"bin/{name}": "busybox" for name in APPLETS})


class Archive:
    """An archive that is being made."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._manifests: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Add a blob; return its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def image(
        self,
        layers: Sequence[bytes],
        config: Mapping[str, Any],
        *,
        name: str | None = None,
        architecture: str = this_platform().architecture,
    ) -> dict[str, Any]:
        """Add an image; return the descriptor of its manifest."""
        diff_ids = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]
        content = {
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(json.dumps(content).encode(), CONFIG),
            "layers": [self.blob(gzip.compress(each, 1, mtime=0), LAYER) for each in layers],
        }
        descriptor = self.blob(json.dumps(manifest).encode(), MANIFEST)
        descriptor["platform"] = {"architecture": architecture, "os": "linux"}
        if name:
            descriptor["annotations"] = {"org.opencontainers.image.ref.name": name}
        self._manifests.append(descriptor)
        return descriptor

    def index(self, manifests: Sequence[dict[str, Any]], name: str) -> None:
        """Put images of several platforms into one of a name."""
        self._manifests = [each for each in self._manifests if each not in manifests]
        data = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}
        descriptor = self.blob(json.dumps(data).encode(), INDEX)
        self._manifests.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})

    def write(self, path: Path) -> Path:
        """Write it."""
        files = {f"blobs/sha256/{digest}": data for digest, data in self._blobs.items()}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._manifests}
        files["index.json"] = json.dumps(index).encode()
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return path


def write_image(path: Path, name: str | None = "demo:1", *more: bytes, **config: Any) -> Path:
    """Write an archive of one image, with busybox and ``more`` layers."""
    archive = Archive()
    archive.image([busybox_layer(), *more], config, name=name)
    return archive.write(path)
