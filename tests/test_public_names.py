"""What ``import pluginexec`` offers.

Real: everything.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

import pluginexec

NAMES = (
    *("PLUGIN_NAMESPACE", "Containerd", "Executor", "ExitHandler", "ExitStatus", "Remote"),
    *("EventInfo", "EventType", "Sink", "Writer", "default_spec", "load_spec"),
    *("PluginExecError", "AlreadyExists", "DeadlineExceeded", "FailedPrecondition", "InvalidArgument", "NotFound"),
    *("PermissionDenied", "Unavailable", "Unknown"),
)
DOCUMENTED = [
    pytest.param(value, id=name)
    for name, value in sorted(vars(pluginexec).items())
    if name in pluginexec.__all__ and (inspect.isclass(value) or inspect.isfunction(value))
]


def public_members(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the functions and properties that a class defines for its users."""
    for name, member in vars(value).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property | classmethod)):
            yield name, member


def test_these_names_are_public() -> None:
    assert sorted(pluginexec.__all__) == sorted(NAMES)
    assert all(hasattr(pluginexec, name) for name in NAMES)


def test_nothing_else_is_public() -> None:
    others = {
        name
        for name, value in vars(pluginexec).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in pluginexec.__all__
    }
    assert others <= {"annotations"}


@pytest.mark.parametrize("value", DOCUMENTED)
def test_each_public_name_and_its_members_have_a_docstring(value: Any) -> None:
    assert vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    undocumented = [
        name for name, member in (public_members(value) if inspect.isclass(value) else ()) if not member.__doc__
    ]
    assert not undocumented


def test_the_package_itself_has_a_docstring() -> None:
    assert pluginexec.__doc__


def test_importing_the_package_imports_no_click() -> None:
    script = "import sys, pluginexec; sys.exit('click' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_importing_the_package_starts_no_thread() -> None:
    script = "import threading, pluginexec as p; assert [t.name for t in threading.enumerate()] == ['MainThread']"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_package_is_marked_as_typed() -> None:
    assert resources.files(pluginexec).joinpath("py.typed").is_file()
