"""The other options of ``run`` and ``create``, and the record and spec that they result in."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, TypeVar

import click

from pluginexec.cli.container_options import ContainerFlags, container_options
from pluginexec.cli.create_source import find_source
from pluginexec.cli.globals import Settings
from pluginexec.containerd.remote import Remote
from pluginexec.daemon.private import ensure_running
from pluginexec.errors import InvalidArgument
from pluginexec.host.logs.drivers import DRIVERS, JSON_FILE, NONE, check_options
from pluginexec.host.records import Record
from pluginexec.host.seccomp import default_seccomp
from pluginexec.images.store import PULL_POLICIES
from pluginexec.oci.options.security import bounding
from pluginexec.restart_policy import parse_policy
from pluginexec.root.layout import Layout
from pluginexec.validation import check_id, parse_signal

log = logging.getLogger(__name__)

_F = TypeVar("_F", bound=Callable[..., Any])

restart_option = click.option(
    "--restart",
    default="no",
    metavar="POLICY",
    show_default=True,
    help="Restart policy that 'pluginexec serve' applies: no, on-failure[:max-retries], always, unless-stopped.",
)
log_opt_option = click.option(
    "--log-opt",
    "log_opts",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of json-file: max-size=SIZE before rotation, -1 for unlimited (default 10m); max-file=COUNT"
    " (default 3).",
)
_OPTIONS = (
    click.option(
        "--name",
        "--id",
        "name",
        metavar="ID",
        help="Plugin ID: letters and digits, separated by single '.', '_' or '-'. Default: 12 random hex digits.",
    ),
    click.option(
        "--rootfs",
        metavar="DIR",
        help="Run CMD on this root file system with containerd's default spec, instead of a BUNDLE.",
    ),
    click.option(
        "--pull",
        type=click.Choice(PULL_POLICIES),
        default="missing",
        show_default=True,
        help="Whether to pull the image before it is run.",
    ),
    click.option("--platform", metavar="OS/ARCH", help="Platform of the image. Default: that of this machine."),
    click.option("--entrypoint", metavar="CMD", help="Run this instead of the entrypoint of the image."),
    click.option("--rm", "auto_remove", is_flag=True, help="Remove the plugin and its log when it exits."),
    restart_option,
    click.option(
        "--log-driver",
        type=click.Choice(DRIVERS),
        help="Log driver. json-file: docker's format, with timestamps and rotation; raw: plain files stdout.log and"
        " stderr.log; none. Default: json-file, but none for 'run --rm' in the foreground.",
    ),
    log_opt_option,
    click.option(
        "--stop-signal",
        metavar="SIGNAL",
        help="Signal that 'stop' sends first. Default: that of the image, or SIGTERM.",
    ),
    click.option("--runtime", metavar="NAME", help="OCI runtime: runc, crun, or a path. Default: that of containerd."),
    click.argument(
        "arguments",
        metavar="(IMAGE [CMD [ARG...]] | ./BUNDLE [CMD [ARG...]] | --rootfs DIR CMD [ARG...])",
        nargs=-1,
        type=click.UNPROCESSED,
    ),
)


def creating_options(command: _F) -> _F:
    """Add the options that ``planned`` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return container_options(command)


def planned(
    settings: Settings, flags: ContainerFlags, *, detached: bool, arguments: tuple[str, ...], **options: Any
) -> tuple[Record, dict[str, Any]]:
    """Return the validated record and spec of a plugin, after making sure that a containerd is running for it."""
    id = check_id(options["name"] or secrets.token_hex(6))
    labels = flags.labels
    driver = options["log_driver"] or (JSON_FILE if detached or not options["auto_remove"] else NONE)
    log_opts = pairs("--log-opt", options["log_opts"])
    check_options(driver, log_opts)
    _check(**options)
    warn_if_forgotten(settings.layout, options["restart"])
    source = find_source(settings, flags, id, arguments, options)
    spec = source.flags.apply(source.spec)  # after all validation: this creates the directories that -v names
    # Last: an invalid spec must fail before anything is started.
    remote = ensure_running(settings.address, settings.layout, settings.timeout)
    if not source.is_bundle and not flags.chooses_seccomp:
        _confine(spec, replace(remote, runtime=options["runtime"]), settings)
    record = Record(
        id=id,
        created_at=datetime.now(timezone.utc),
        address=remote.address,
        namespace=settings.namespace,
        command=list(spec["process"]["args"]),
        labels=labels,
        log_driver=driver,
        log_opts=log_opts,
        restart=options["restart"],
        auto_remove=options["auto_remove"],
        stop_signal=options["stop_signal"] or source.stop_signal or "SIGTERM",
        runtime=options["runtime"],
        detached=detached,
        image=source.image,
        image_digest=source.digest,
    )
    return record, spec


def warn_if_forgotten(layout: Layout, restart: str) -> None:
    """Warn of a restart policy for a plugin that a reboot removes."""
    if parse_policy(restart).name != "no" and not layout.survives_reboot:
        log.warning(
            "it will not be started after a reboot (--restart %s): the root %s is on a tmpfs", restart, layout.root
        )


def _confine(spec: dict[str, Any], remote: Remote, settings: Settings) -> None:
    """Let a plugin make the system calls of containerd's default profile, as docker does."""
    # Any root will do, and that of an image is not mounted yet.
    profile = default_seccomp(remote, "/", bounding(spec), settings.layout)
    if profile is not None:
        spec["linux"]["seccomp"] = profile


def _check(*, stop_signal: str | None, restart: str, auto_remove: bool, **others: object) -> None:
    if stop_signal:
        parse_signal(stop_signal)
    if parse_policy(restart).name != "no" and auto_remove:
        raise InvalidArgument("--rm conflicts with --restart: a removed plugin cannot be restarted")


def pairs(option: str, values: tuple[str, ...]) -> dict[str, str]:
    """Return the ``KEY=VALUE`` values of an option as a dict."""
    result = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            raise InvalidArgument(f"invalid {option} {value!r}: use KEY=VALUE")
        result[key] = text
    return result
