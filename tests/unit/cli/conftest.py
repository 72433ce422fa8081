"""Fixtures: the command line called in this process, without the console script."""

from __future__ import annotations

import logging
import os
import sys
import types
from collections.abc import Callable
from typing import Any

import click
import pytest

from pluginexec import cli
from pluginexec.cli import group

Call = Callable[..., tuple[int, str, str]]
Body = Callable[[Any], object]


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables by which an environment configures the command line."""
    for name in list(os.environ):
        if name.startswith(("PLUGINEXEC_", "CONTAINERD_ADDRESS", "NO_COLOR", "_PLUGINEXEC_COMPLETE")):
            monkeypatch.delenv(name)


@pytest.fixture
def call(clean_environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call ``main`` with arguments; return the exit code and what was printed to stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        root, package = logging.getLogger(), logging.getLogger("pluginexec")
        levels = root.level, package.level
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(root, "handlers", [])  # so that basicConfig adds the command line's
            patch.setattr(sys, "argv", ["pluginexec", *map(str, arguments)])
            try:
                with pytest.raises(SystemExit) as end:
                    cli.main()
            finally:
                root.setLevel(levels[0])
                package.setLevel(levels[1])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err  # type: ignore[return-value] # main always exits with a number or None

    return call


@pytest.fixture
def probe(call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call ``main`` with global options and a command ``probe`` that runs a function with the settings."""

    def probe(body: Body, *globals: object) -> tuple[int, str, str]:
        module: Any = types.ModuleType("pluginexec.cli.commands.probe")
        module.command = click.command(name="probe")(click.pass_obj(body))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(group.COMMANDS, "probe", "Run the function of a test.")
        return call(*globals, "probe")

    return probe
