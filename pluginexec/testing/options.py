"""The options of the pytest plugin: from the command line, else from ``pytest.ini`` or ``setup.cfg``, else defaults."""

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
    "timeout": f"how many SECONDS each wait may take, unless the test gives a timeout (default: {_DEFAULT_TIMEOUT})",
}
_METAVARS = {"address": "PATH", "containerd": f"{WORKER}|{SHARED}", "runtime": "NAME", "timeout": "SECONDS"}
_REQUIRED = "fail the tests that need containers if this machine cannot run them, instead of skipping them"


@dataclass(frozen=True)
class Settings:
    """The values of the options; ``timeout`` in seconds."""

    address: str | None
    shared: bool
    runtime: str | None
    timeout: float
    required: bool


def add_options(parser: pytest.Parser) -> None:
    """Declare the options, each for the command line and for the configuration file."""
    group = parser.getgroup("pluginexec", "plugin containers")
    for name, text in _HELP.items():
        group.addoption(f"--pluginexec-{name}", metavar=_METAVARS[name], help=text)
        parser.addini(f"pluginexec_{name}", f"{text}; as --pluginexec-{name}")
    group.addoption("--pluginexec-required", action="store_true", help=_REQUIRED)
    parser.addini("pluginexec_required", f"{_REQUIRED}; as --pluginexec-required", type="bool", default=False)


def read_settings(config: pytest.Config) -> Settings:
    """Return the values of the options; raise ``pytest.UsageError`` for an invalid one."""
    containerd = _value(config, "containerd") or WORKER
    if containerd not in (WORKER, SHARED):
        raise _invalid("containerd", containerd, f"must be {WORKER} or {SHARED}")
    address = _value(config, "address")
    if address and "://" in address:
        raise _invalid("address", address, "must be the bare path of the socket")
    required = config.getoption("pluginexec_required") or config.getini("pluginexec_required")
    return Settings(address, containerd == SHARED, _value(config, "runtime"), _timeout(config), bool(required))


def _timeout(config: pytest.Config) -> float:
    text = _value(config, "timeout") or _DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise _invalid("timeout", text, f"must be a number of seconds up to {_LONGEST_TIMEOUT:g}")
    return seconds


def _value(config: pytest.Config, name: str) -> str | None:
    """Return the value of an option; ``None`` if it is unset or empty."""
    return config.getoption(f"pluginexec_{name}") or config.getini(f"pluginexec_{name}") or None


def _invalid(name: str, value: str, allowed: str) -> pytest.UsageError:
    return pytest.UsageError(f"pluginexec_{name} {value[:100]!r}: {allowed}")
