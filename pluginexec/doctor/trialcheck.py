"""The doctor's last check: a tiny plugin."""

from __future__ import annotations

from pluginexec.doctor.check import FAILURE, OK, WARNING, Check, Place
from pluginexec.doctor.smoke_test import NotTried, run_tiny_plugin
from pluginexec.errors import PluginExecError, one_line

_SHOWN = 300


def check_plugin(place: Place) -> Check:
    """Run a tiny plugin, and tell how long it took."""
    try:
        seconds = run_tiny_plugin(place.address, place.root)
    except NotTried as error:
        return Check("plugin", WARNING, f"not tried: {error}", error.hint or "")
    except PluginExecError as error:
        remedy = error.hint or "do first what is said above; then see containerd's log"
        return Check("plugin", FAILURE, one_line(str(error))[-_SHOWN:], remedy)
    return Check("plugin", OK, f"a tiny one ran: {seconds * 1000:.0f} ms from its creation to its exit")
