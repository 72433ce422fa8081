"""What ``import pluginexec`` offers.

Real: everything.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

import pluginexec

NAMES = (
    *("PLUGIN_NAMESPACE", "Containerd", "Executor", "ExitHandler", "ExitStatus", "Images", "ManagedPlugin", "Remote"),
    *("EventInfo", "EventType", "JsonFile", "Sink", "Writer", "default_spec", "load_spec"),
    *("PluginExecError", "AlreadyExists", "DeadlineExceeded", "FailedPrecondition", "InvalidArgument", "NotFound"),
    *("PermissionDenied", "Unavailable", "Unknown"),
)
DOCUMENTED = [
    pytest.param(value, id=name)
    for name, value in sorted((name, getattr(pluginexec, name)) for name in pluginexec.__all__)
    if inspect.isclass(value) or inspect.isfunction(value)
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


def test_public_names_are_found_before_anybody_asked_for_them() -> None:
    script = "import pluginexec; print(*dir(pluginexec)); from pluginexec import *; print(*sorted(globals()))"
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        assert set(NAMES) <= set(line.split())


def test_a_name_that_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'pluginexec' has no attribute 'Nonsense'"):
        pluginexec.Nonsense  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(ImportError, match="Nonsense"):
        from pluginexec import Nonsense  # type: ignore[attr-defined] # noqa: F401


def test_the_version_is_told_without_asking_what_is_installed() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", pluginexec.__version__)


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
