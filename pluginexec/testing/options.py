"""The options of the pytest plugin: on the command line, else in ``pytest.ini`` or ``setup.cfg``, else by default."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

WORKER, SHARED = "worker", "shared"
_DEFAULT_TIMEOUT = "30"
_LONGEST_TIMEOUT = 1e6
_HELP = {
    "address": "use the containerd that listens on the socket PATH, instead of a private one",
    "containerd": "the private containerd: 'worker' starts one for each xdist worker, 'shared' one for all of them "
    f"(default: {WORKER})",
    "runtime": "the OCI runtime, a name or a path (default: runc)",
    "timeout": f"how many SECONDS whatever is waited for may take, unless the test says (default: {_DEFAULT_TIMEOUT})",
}
_METAVARS = {"address": "PATH", "containerd": f"{WORKER}|{SHARED}", "runtime": "NAME", "timeout": "SECONDS"}
_REQUIRED = "fail, instead of skip, the tests that ask for containers where this machine cannot run them"


@dataclass(frozen=True)
class Settings:
    """What was chosen; ``timeout`` in seconds."""

    address: str | None
    shared: bool
    runtime: str | None
    timeout: float
    required: bool


def add_options(parser: pytest.Parser) -> None:
    """Declare the options, each for the command line and for the file."""
    group = parser.getgroup("pluginexec", "plugin containers")
    for name, text in _HELP.items():
        group.addoption(f"--pluginexec-{name}", metavar=_METAVARS[name], help=text)
        parser.addini(f"pluginexec_{name}", f"{text}; as --pluginexec-{name}")
    group.addoption("--pluginexec-required", action="store_true", help=_REQUIRED)
    parser.addini("pluginexec_required", f"{_REQUIRED}; as --pluginexec-required", type="bool", default=False)


def read_settings(config: pytest.Config) -> Settings:
    """Return what was chosen; ``pytest.UsageError`` for a value that cannot be."""
    containerd = _value(config, "containerd") or WORKER
    if containerd not in (WORKER, SHARED):
        raise _refused("containerd", containerd, f"give {WORKER} or {SHARED}")
    address = _value(config, "address")
    if address and "://" in address:
        raise _refused("address", address, "give the bare path of the socket")
    required = config.getoption("pluginexec_required") or config.getini("pluginexec_required")
    return Settings(address, containerd == SHARED, _value(config, "runtime"), _timeout(config), bool(required))


def _timeout(config: pytest.Config) -> float:
    text = _value(config, "timeout") or _DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise _refused("timeout", text, f"give a number of seconds up to {_LONGEST_TIMEOUT:g}")
    return seconds


def _value(config: pytest.Config, name: str) -> str | None:
    """Return what was given; an empty one counts as none."""
    return config.getoption(f"pluginexec_{name}") or config.getini(f"pluginexec_{name}") or None


def _refused(name: str, value: str, allowed: str) -> pytest.UsageError:
    return pytest.UsageError(f"pluginexec_{name} {value[:100]!r}: {allowed}")
