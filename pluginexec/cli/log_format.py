"""The log on stderr: lines of text, or one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from pluginexec.cli import progress
from pluginexec.cli.humanize import rfc3339
from pluginexec.errors import one_line


def configure(debug: bool, log_format: str) -> None:
    """Log warnings to stderr, and with ``debug`` all messages of this package."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Json(debug) if log_format == "json" else _Text(debug))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("pluginexec").setLevel(logging.DEBUG if debug else logging.WARNING)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg] # StreamHandler is not generic at run time
    def emit(self, record: logging.LogRecord) -> None:
        with progress.hidden():
            super().emit(record)


class _Text(logging.Formatter):
    def __init__(self, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno < logging.WARNING else ""
        line = f"pluginexec: {level}{one_line(record.getMessage())}{_reason(record)}"
        if self._debug and record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


class _Json(_Text):
    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": rfc3339(datetime.fromtimestamp(record.created, timezone.utc)),
            "level": record.levelname.lower(),
            "msg": f"{one_line(record.getMessage())}{_reason(record)}",
        }
        if self._debug and record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, separators=(",", ":"))


def _reason(record: logging.LogRecord) -> str:
    """Return the error of a record as a suffix; its traceback is printed only with ``--debug``."""
    error = record.exc_info[1] if record.exc_info else None
    return f": {type(error).__name__}: {one_line(str(error))}" if error else ""
