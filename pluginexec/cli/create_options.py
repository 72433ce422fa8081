"""What ``run`` and ``create`` share: the options that say what is to run and how it is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TypeVar

import click

from pluginexec.cli.container_options import ContainerFlags, container_options
from pluginexec.cli.globals import Settings
from pluginexec.daemon.private import ensure_running
from pluginexec.errors import InvalidArgument
from pluginexec.host.logs.drivers import DRIVERS, JSON_FILE, NONE, check_options
from pluginexec.host.records import Record
from pluginexec.oci.spec import default_spec, load_spec
from pluginexec.restart_policy import parse_policy
from pluginexec.validation import check_id, parse_signal

_F = TypeVar("_F", bound=Callable[..., Any])

restart_option = click.option(
    "--restart",
    default="no",
    metavar="POLICY",
    show_default=True,
    help="When 'pluginexec serve' starts it again: no, on-failure[:max-retries], always, unless-stopped.",
)
log_opt_option = click.option(
    "--log-opt",
    "log_opts",
    multiple=True,
    metavar="KEY=VALUE",
    help="For json-file: max-size=SIZE (10m) before it is rotated, -1 for no limit; max-file=COUNT (3).",
)
_OPTIONS = (
    click.option(
        "--name",
        "--id",
        "name",
        metavar="ID",
        help="The container's id; by default 12 random digits. Letters and digits, joined by single '.', '_' or '-'.",
    ),
    click.option(
        "--rootfs",
        metavar="DIR",
        help="Run CMD on this root file system, with containerd's default spec, instead of a BUNDLE.",
    ),
    click.option("--rm", "auto_remove", is_flag=True, help="Remove the plugin, and its log, when it has ended."),
    restart_option,
    click.option(
        "--log-driver",
        type=click.Choice(DRIVERS),
        help="Where its output is kept. json-file: docker's format, with times and rotation; raw: two plain files,"
        " stdout.log and stderr.log; none. By default json-file; none for 'run --rm' in the foreground.",
    ),
    log_opt_option,
    click.option(
        "--stop-signal", default="SIGTERM", show_default=True, metavar="SIGNAL", help="What 'stop' sends first."
    ),
    click.option("--runtime", metavar="NAME", help="The OCI runtime: runc, crun, or a path; by default containerd's."),
    click.argument("arguments", metavar="(BUNDLE | --rootfs DIR CMD [ARG...])", nargs=-1, type=click.UNPROCESSED),
)


def creating_options(command: _F) -> _F:
    """Add the options that ``planned`` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return container_options(command)


def planned(
    settings: Settings, flags: ContainerFlags, *, detached: bool, arguments: tuple[str, ...], **asked: Any
) -> tuple[Record, dict[str, Any]]:
    """Return the record and the spec of a plugin, both checked; a containerd is there for it then."""
    id = check_id(asked["name"] or secrets.token_hex(6))
    spec = _base_spec(id, asked["rootfs"], arguments)
    labels = flags.labels
    driver = asked["log_driver"] or (JSON_FILE if detached or not asked["auto_remove"] else NONE)
    log_opts = pairs("--log-opt", asked["log_opts"])
    check_options(driver, log_opts)
    _check(**asked)
    spec = flags.apply(spec)  # after all that can be refused: it makes the directories that -v names
    spec["linux"].setdefault("cgroupsPath", f"/pluginexec/{id}")  # by it, stats and the OOM flag are found
    record = Record(
        id=id,
        created_at=datetime.now(timezone.utc),
        # Last: before anything is started, a bad spec is told.
        address=ensure_running(settings.address, settings.root).address,
        namespace=settings.namespace,
        command=list(spec["process"]["args"]),
        labels=labels,
        log_driver=driver,
        log_opts=log_opts,
        restart=asked["restart"],
        auto_remove=asked["auto_remove"],
        stop_signal=asked["stop_signal"],
        runtime=asked["runtime"],
        detached=detached,
    )
    return record, spec


def _check(*, stop_signal: str, restart: str, auto_remove: bool, **others: object) -> None:
    parse_signal(stop_signal)
    if parse_policy(restart).name != "no" and auto_remove:
        raise InvalidArgument("--rm and --restart exclude each other: what is removed cannot be started again")


def _base_spec(id: str, rootfs: str | None, arguments: tuple[str, ...]) -> dict[str, Any]:
    if rootfs is None:
        if len(arguments) != 1:
            raise click.UsageError("give one bundle directory, or --rootfs DIR and a command")
        return load_spec(arguments[0])
    if not arguments:
        raise click.UsageError("give a command to run on the root file system")
    return default_spec(rootfs, arguments, id=id)


def pairs(option: str, values: tuple[str, ...]) -> dict[str, str]:
    """Return the values of an option, each of which is ``KEY=VALUE``."""
    found = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            raise InvalidArgument(f"{option} {value!r} is not of the form KEY=VALUE")
        found[key] = text
    return found
