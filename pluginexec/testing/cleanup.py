"""End what a test or a whole test run left behind: plugins, a private containerd, mounts, files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from pluginexec.containerd.remote import Remote
from pluginexec.daemon.cleanup import delete_everything
from pluginexec.daemon.containerd import Containerd
from pluginexec.errors import FailedPrecondition, PluginExecError, Unavailable
from pluginexec.executor.executor import Executor
from pluginexec.linux import trees
from pluginexec.linux.mounts import unmount_below

log = logging.getLogger(__name__)


def end_run(directory: Path) -> None:
    """End everything that runs in the directory of a test run, whose lock the caller holds.

    Raises ``Unavailable`` if plugins run on a containerd that is not private, and it does not listen.
    """
    with contextlib.ExitStack() as stack:
        daemon = directory / "containerd"
        if daemon.exists():
            stack.enter_context(
                Containerd(daemon)
            )  # it adopts one that is left or starts one, and ends everything on exit
        _end_executors(directory)


def _end_executors(directory: Path) -> None:
    roots = sorted(directory.glob("e[0-9]*"))
    if not roots:
        return
    remote = Remote((directory / "address").read_text(encoding="utf-8"))
    if not remote.listens():
        if (
            directory.parent in Path(remote.address).parents
        ):  # a private one, which was ended with everything that it ran
            return
        raise Unavailable(f"no containerd listens at {remote.address}")
    for root in roots:
        end_plugins(root, remote, namespace_of(root))


def namespace_of(root: Path) -> str:
    """Return the namespace of an executor whose root is in a run directory."""
    return f"{root.parent.name}-{root.name}"


def end_plugins(root: Path, remote: Remote, namespace: str) -> None:
    """End and delete all plugins of a namespace whose executor is gone, and the namespace itself."""
    client = remote.new_client(namespace)
    # Restored first: while their output is unread, each deletion takes 12 s.
    with contextlib.suppress(FailedPrecondition), Executor(root, remote, namespace=namespace) as executor:
        for id in sorted({*client.tasks(), *client.containers()}):
            with _logged():
                if executor.restore(id):
                    executor.signal(id, "KILL")
                    executor.wait(id, remote.timeout)
    delete_everything(remote, [namespace])
    client.delete_namespace()


def remove_tree(directory: Path) -> None:
    """Remove a directory; ``Unavailable`` while something is mounted below it, whose files would be removed too."""
    if not unmount_below(directory):
        raise Unavailable(f"cannot remove {str(directory)!r}: something is mounted below it, and cannot be unmounted")
    if not trees.remove(directory):
        raise Unavailable(f"cannot remove {str(directory)!r}: see the log for what has to stay")


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except PluginExecError as error:
        log.debug("%s; deleting it by force", error)
