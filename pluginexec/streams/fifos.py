"""The FIFOs of a container that something else created, found where they are surely open: at its shim.

containerd tells no client where they are, and ``ctr tasks attach`` is no help that lasts: it ends when containerd does,
removes the FIFOs as it ends so that nothing finds them again, forwards signals to the plugin, and takes with it what
it had read. The shim has them open for as long as the container runs.

Those of an own plugin whose root directory was deleted are found in the same way: its logger has them open.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import psutil

from pluginexec.linux.files import file_error

STREAMS = ("stdout", "stderr")


def find_fifos(id: str, init: int) -> list[Path | None]:
    """Return what opens the FIFO of stdout and that of stderr; ``None`` for a stream that goes elsewhere.

    ``init`` is the pid of the container's init process, which must be held alive. Raises ``PermissionDenied`` where we
    may not look.
    """
    try:
        shim = psutil.Process(psutil.Process(init).ppid())
        descriptors = list(Path(f"/proc/{shim.pid}/fd").iterdir())
        for child in shim.children():
            with contextlib.suppress(FileNotFoundError):  # it has ended
                descriptors += Path(f"/proc/{child.pid}/fd").iterdir()
    except (FileNotFoundError, psutil.NoSuchProcess):  # has ended, or its shim has
        return [None, None]
    except OSError as error:
        raise file_error(error, f"the shim of {id!r} cannot be looked into") from error
    found = {name: path for path in descriptors if (name := _stream_of(path, id))}
    return [found.get(name) for name in STREAMS]


def _stream_of(descriptor: Path, id: str) -> str | None:
    """Return which stream of a container a shim writes to through ``descriptor``, if any."""
    try:
        mode = descriptor.lstat().st_mode  # of the link: how the descriptor is open
        link = os.readlink(descriptor)
        target = Path(link.removesuffix(" (deleted)"))
        if not mode & stat.S_IWUSR or not stat.S_ISFIFO(descriptor.stat().st_mode):
            return None
    except OSError:  # closed meanwhile
        return None
    for name in STREAMS:
        # So containerd's own library calls them, and before 2023 moby did otherwise. One shim may serve several
        # containers, and execs too.
        if target.name == f"{id}-{name}" or (target.parent.name, target.name) == (id, f"init-{name}"):
            return name
        # Ours, and in a root that is there they are another executor's.
        if link.endswith(" (deleted)") and target.parts[-3:] == ("containers", id, name):
            return name
    return None
