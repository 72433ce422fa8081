"""What the command line imports before it knows what is wanted of it: that is what ``--help`` costs.

Real: the command line, in processes of its own. No time is measured here; what is imported decides it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.probe import environment

IMPORTED = """if True:
    import sys
    sys.argv = ["pluginexec", *sys.argv[1:]]
    from pluginexec.cli import main
    try:
        main()
    except SystemExit as end:
        assert not end.code
    print("imported", *sorted(sys.modules))
"""
NOTHING = "import sys; print('imported', *sorted(sys.modules))"  # an editable install imports something at each start
CLICK = "import sys, click; print('imported', *sorted(sys.modules))"
HEAVY = ("psutil", "subprocess", "logging", "json", "pathlib", "dataclasses", "importlib.metadata", "socket", "asyncio")


def imported(script: str, *arguments: str) -> set[str]:
    argv = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.rpartition("imported ")[2].split())


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_version_and_the_help_import_click_the_group_and_little_else(option: str) -> None:
    ours = imported(IMPORTED, option) - imported(CLICK)
    assert not ours & set(HEAVY)
    assert {name for name in ours if name.startswith("pluginexec")} == {
        *("pluginexec", "pluginexec.cli", "pluginexec.cli.group", "pluginexec.cli.seconds"),
    }
    assert len(ours) < 30


def test_a_command_is_imported_without_the_others() -> None:
    ours = imported(IMPORTED, "completion", "--help")
    assert "pluginexec.cli.commands.completion" in ours
    assert not ours & {
        "pluginexec.cli.commands.run",
        "pluginexec.cli.commands.ps",
        "pluginexec.executor.executor",
        "psutil",
    }


def test_a_command_of_plugin_is_imported_without_the_others() -> None:
    ours = imported(IMPORTED, "plugin", "set", "--help")
    assert "pluginexec.cli.commands.plugin.set" in ours
    assert not ours & {"pluginexec.cli.commands.plugin.create", "pluginexec.cli.commands.run", "tarfile"}
    assert not imported(IMPORTED, "plugin", "--help") & {
        "pluginexec.cli.commands.plugin.set",
        "pluginexec.host.managed.manager",
    }


def test_commands_that_have_nothing_to_do_with_managed_plugins_import_none_of_it() -> None:
    ours = imported(IMPORTED, "stop", "--help")
    assert "pluginexec.host.host" in ours
    assert not {name for name in ours if name.startswith(("pluginexec.managed", "ctypes", "http"))}


def test_importing_the_package_imports_none_of_its_parts() -> None:
    ours = imported("import sys, pluginexec; print('imported', *sorted(sys.modules))")
    assert {name for name in ours if name.startswith("pluginexec")} == {"pluginexec"}
    assert not (ours - imported(NOTHING)) & set(HEAVY)


def test_asking_for_an_error_imports_no_executor() -> None:
    ours = imported("import sys; from pluginexec import NotFound; print('imported', *sorted(sys.modules))")
    assert {name for name in ours if name.startswith("pluginexec")} == {"pluginexec", "pluginexec.errors"}
