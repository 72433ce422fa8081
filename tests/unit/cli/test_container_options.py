"""The options that shape a container, as click parses them."""

from __future__ import annotations

from typing import Any

import click
import pytest

from pluginexec.cli.container_options import ContainerFlags, container_options


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--name")
@container_options
@click.argument("arguments", nargs=-1)
def command(flags: ContainerFlags, **rest: Any) -> tuple[ContainerFlags, dict[str, Any]]:
    """Return what was parsed."""
    return flags, rest


def parsed(*arguments: str) -> ContainerFlags:
    flags = command.main(arguments, standalone_mode=False)[0]
    assert isinstance(flags, ContainerFlags)
    return flags


def test_nothing_given_is_no_flag() -> None:
    assert parsed() == ContainerFlags()


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (("-e", "A=1", "--env", "B"), ContainerFlags(env=("A=1", "B"))),
        (("--env-file", "a", "--env-file", "b"), ContainerFlags(env_file=("a", "b"))),
        (("-v", "/a:/b", "--volume", "/c:/d:ro"), ContainerFlags(volume=("/a:/b", "/c:/d:ro"))),
        (("--mount", "type=tmpfs,target=/a"), ContainerFlags(mount=("type=tmpfs,target=/a",))),
        (("-w", "/a", "--workdir", "/b"), ContainerFlags(workdir="/b")),
        (("-u", "1", "--user", "2:3"), ContainerFlags(user="2:3")),
        (("--hostname", "a"), ContainerFlags(hostname="a")),
        (("-m", "64m", "--cpus", "1.5"), ContainerFlags(memory="64m", cpus="1.5")),
        (("--memory=64m", "--pids-limit", "-1"), ContainerFlags(memory="64m", pids_limit="-1")),
        (("--cap-add", "A", "--cap-drop=ALL"), ContainerFlags(cap_add=("A",), cap_drop=("ALL",))),
        (("--read-only",), ContainerFlags(read_only=True)),
        (("--net", "host"), ContainerFlags(network="host")),
        (("--net=host", "--network", "none"), ContainerFlags(network="none")),
        (("-l", "a=1", "--label", "b"), ContainerFlags(label=("a=1", "b"))),
    ],
)
def test_each_option_has_dockers_names_and_the_last_one_wins(arguments: tuple[str, ...], flags: ContainerFlags) -> None:
    assert parsed(*arguments) == flags


def test_the_rest_is_for_the_command() -> None:
    flags, rest = command.main(["--name", "x", "-e", "A=1", "sh", "-e", "B"], standalone_mode=False)
    assert flags == ContainerFlags(env=("A=1",))
    assert rest == {"name": "x", "arguments": ("sh", "-e", "B")}


def test_every_option_is_explained() -> None:
    options = [option for option in command.params if isinstance(option, click.Option) and option.name != "name"]
    assert len(options) == len(ContainerFlags.__dataclass_fields__)
    assert all(option.help and option.help.endswith(".") for option in options)
