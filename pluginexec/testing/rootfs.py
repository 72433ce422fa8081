"""A root file system for plugins, made from one static busybox."""

import shutil
import struct
import subprocess
from pathlib import Path

DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "var/tmp")
PT_INTERP = 3


def is_static(executable: Path) -> bool:
    """Return whether a file is a 64- or 32-bit ELF executable without a dynamic loader (no PT_INTERP header)."""
    image = executable.read_bytes()
    if len(image) < 64 or image[:4] != b"\x7fELF":
        return False
    order = "<" if image[5] == 1 else ">"
    if image[4] == 2:
        (offset,), (size, count) = (
            struct.unpack_from(order + "Q", image, 32),
            struct.unpack_from(order + "HH", image, 54),
        )
    else:
        (offset,), (size, count) = (
            struct.unpack_from(order + "I", image, 28),
            struct.unpack_from(order + "HH", image, 42),
        )
    types = (struct.unpack_from(order + "I", image, offset + index * size)[0] for index in range(count))
    return PT_INTERP not in types


def find_busybox() -> Path | None:
    """Return the machine's static busybox, if there is one. A dynamic one would find no libraries in an empty root."""
    candidates = (shutil.which("busybox"), "/bin/busybox", "/bin/busybox.static")
    paths = (Path(candidate) for candidate in candidates if candidate is not None)
    return next((path for path in paths if path.is_file() and is_static(path)), None)


def make_rootfs(directory: Path) -> Path:
    """Make ``directory`` a root file system with busybox and all its applets in ``/bin``, and return it."""
    busybox = find_busybox()
    if busybox is None:
        raise FileNotFoundError("no static busybox on this machine: install the package busybox-static")
    for name in DIRECTORIES:
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (directory / name).chmod(0o1777)
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (directory / "etc/group").write_text("root:x:0:\n")
    shutil.copy(busybox, directory / "bin/busybox")
    listing = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True, timeout=10)
    for applet in set(listing.stdout.split()) - {"busybox"}:
        (directory / "bin" / applet).symlink_to("busybox")
    return directory
