"""A sink that keeps a plugin's output in docker's json-file format, without passing through this process."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pluginexec.errors import InvalidArgument, shown
from pluginexec.streams.shell_logger import LOGGER_PATH, log_uri

DEFAULT_MAX_SIZE = 10_000_000
DEFAULT_MAX_FILE = 3
_OPTIONS = ("max-size", "max-file")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}

# Beside what logger.py says: a logger that is killed is replaced, and the containerd waits at 9 only for the first.
# If Python is gone, the plugin must not suffer: its output is read and discarded.
_SCRIPT = """\
PATH={path}
trap '' HUP INT TERM
exec 9>&5 5<{mark}
until {command}; do
[ $? -gt 128 ] && continue
exec 9>&-
cat <&4 >/dev/null 3<&- &
exec cat <&3 >/dev/null 4<&-
done
"""
# The cached code of the module is used, which halves what starting costs; our other modules are not looked for.
_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); import json_logger; json_logger.main()"


@dataclass(frozen=True)
class JsonFile:
    """A log in docker's json-file format, as a sink for one stream or, the same object, for both.

    A small logger writes it: it goes on while this process is dead, and never makes the plugin wait or fail.

    - ``path``: the file; older ones are ``PATH.1``, ``PATH.2``, ...;
    - ``max_size``: bytes that a file may have, -1 for any;
    - ``max_file``: how many files there may be; with 1 the file is replaced when it is full.

    Raises ``InvalidArgument`` for a value that is out of range.
    """

    path: str | os.PathLike[str]
    max_size: int = DEFAULT_MAX_SIZE
    max_file: int = DEFAULT_MAX_FILE

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, os.PathLike)):
            raise InvalidArgument(f"the path of a json-file must be a path; got {shown(self.path)}")
        for name, value, valid in (
            ("max_size", self.max_size, "at least 1, or -1 for unlimited"),
            ("max_file", self.max_file, "at least 1"),
        ):
            if type(value) is not int or not (value >= 1 or (name, value) == ("max_size", -1)):
                raise InvalidArgument(f"{name} of a json-file must be {valid}; got {shown(value)}")

    @classmethod
    def from_options(cls, path: str | os.PathLike[str], options: Mapping[str, str]) -> JsonFile:
        """Make one from docker's options, ``max-size`` (``"10m"``) and ``max-file`` (``"3"``)."""
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise InvalidArgument(
                f"log option {shown(unknown[0])} is unknown", hint=f"json-file takes {' and '.join(_OPTIONS)}"
            )
        max_size, max_file = DEFAULT_MAX_SIZE, DEFAULT_MAX_FILE
        if "max-size" in options:
            max_size = _parse_size(options["max-size"])
        if "max-file" in options:
            max_file = _parse_count(options["max-file"])
        return cls(path, max_size, max_file)

    def arguments(self, streams: tuple[str, ...], mark: Path) -> tuple[str, ...]:
        """Return the arguments of ``ctr run`` for a logger that keeps these streams and discards others.

        ``mark`` is what all its processes hold open as descriptor 5, as of any logger. In its directory the logger
        records the end of the plugin.
        """
        # Not the link of a virtual environment: that costs a millisecond, and is taken away sooner.
        python = os.path.realpath(sys.executable)
        path = os.path.abspath(os.fsdecode(self.path))
        # No site, no environment, no user's directory: nothing but Python itself.
        argv = [python, "-I", "-S", "-c", _PROGRAM, os.path.dirname(__file__)]
        argv += [path, str(self.max_size), str(self.max_file), ",".join(streams), str(mark.parent)]
        return log_uri(_SCRIPT.format(path=LOGGER_PATH, mark=shlex.quote(str(mark)), command=shlex.join(argv)))


def _parse_size(text: str) -> int:
    if text.strip() == "-1":
        return -1
    match = re.fullmatch(r"(\d{1,15}) ?([kmgt]?)b?", text.strip().lower(), re.ASCII)
    if not match or not int(match[1]):
        raise InvalidArgument(
            f"log option max-size={text} is no size", hint="give bytes, or a number with k, m or g; -1 for unlimited"
        )
    return int(match[1]) * _UNITS[match[2]]


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text.strip(), re.ASCII) or not int(text):
        raise InvalidArgument(f"log option max-file={text} is no number of files", hint="give 1 or more")
    return int(text)
