"""What ``from pluginexec.testing import`` offers, for annotations.

Real: everything.
"""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from pluginexec import testing
from tests.support.probe import environment
from tests.unit.test_public_names import public_members

NAMES = ["Daemon", "DockerPluginFactory", "ExecResult", "PluginFactory", "PluginHandle"]


def test_these_names_are_public() -> None:
    assert sorted(testing.__all__) == NAMES
    assert all(inspect.isclass(getattr(testing, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        testing.Nonsense  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_and_its_members_have_a_docstring(name: str) -> None:
    value = getattr(testing, name)
    assert vars(value).get("__doc__")
    assert not [name for name, member in public_members(value) if not member.__doc__]


def test_a_root_file_system_is_made_without_pytest() -> None:
    """The demo runs a plugin without testing anything, where pytest is not installed."""
    script = "import sys; from pluginexec.testing.rootfs import make_rootfs; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=environment())
