"""``pluginexec run``: one plugin in the foreground."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pluginexec.cli.foreground import Signals, StandardStream
from pluginexec.daemon import Containerd
from pluginexec.errors import Unknown
from pluginexec.executor import DEFAULT_ROOT, Executor
from pluginexec.remote import Remote
from pluginexec.root import file_error
from pluginexec.spec import default_spec, load_spec


# What follows the command of the plugin belongs to it.
@click.command(name="run", context_settings={"allow_interspersed_args": False})
@click.option("--id", metavar="ID", help="The container's id; by default a random one.")
@click.option("--root", metavar="DIR", help="Keep the state here; by default in a directory for this run alone.")
@click.option(
    "--address",
    metavar="SOCK",
    help="containerd's socket; by default $CONTAINERD_ADDRESS, else the machine's, else a private containerd.",
)
@click.option("--rootfs", metavar="DIR", help="Run CMD on this root file system, with a default spec.")
@click.argument("arguments", metavar="(BUNDLE | --rootfs DIR -- CMD [ARG...])", nargs=-1, type=click.UNPROCESSED)
def command(
    id: str | None, root: str | None, address: str | None, rootfs: str | None, arguments: tuple[str, ...]
) -> int:
    """Run a plugin in the foreground.

    Its stdout and stderr are passed on untouched; SIGINT, SIGTERM and SIGHUP go to the plugin, and the third of them
    kills it. The exit code is the plugin's, 128+n if signal n ended it, and 125 for an error of pluginexec.
    """
    id = id or f"run-{secrets.token_hex(6)}"
    if rootfs is None and len(arguments) != 1:
        raise click.UsageError("give one bundle directory, or --rootfs DIR and a command")
    if rootfs is not None and not arguments:
        raise click.UsageError("give a command to run on the root file system")
    # Before anything is started: a bad spec is told at once.
    spec = load_spec(arguments[0]) if rootfs is None else default_spec(rootfs, arguments, id=id)
    with (
        Signals() as signals,
        _root(root) as root_dir,
        _remote(address, root_dir) as remote,
        Executor(root_dir, remote) as executor,
        signals.forwarded(lambda number: executor.signal(id, number)) as started,
    ):
        executor.create(id, spec, StandardStream(1), StandardStream(2))
        started()
        try:
            status = executor.wait(id)
        except BaseException:
            executor.stop(id, timeout=0)
            raise
    if status.exit_code is None:
        raise Unknown("it has ended, and nobody knows its exit code any more", operation="run", id=id)
    return status.exit_code


@contextmanager
def _root(root: str | None) -> Iterator[Path]:
    if root is not None:
        yield Path(root).absolute()
        return
    try:
        Path(DEFAULT_ROOT).mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="run-", dir=DEFAULT_ROOT))
    except OSError as error:
        raise file_error(error, f"no directory can be made in {DEFAULT_ROOT!r}") from error
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _remote(address: str | None, root: Path) -> Iterator[Remote]:
    chosen = Remote(address) if address is not None else Remote()
    if address is not None or os.environ.get("CONTAINERD_ADDRESS") or chosen.listens():
        yield chosen
        return
    with Containerd(root / "containerd") as containerd:
        click.echo(
            f"pluginexec: no containerd at {chosen.address}; a private one runs for as long as this plugin", err=True
        )
        yield containerd.remote
