"""The environment of a process: ``--env`` and ``--env-file``, as docker reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pluginexec.oci.options.values import refused

_BOM = "\ufeff"


def changed_environment(
    env: Iterable[str], values: Iterable[str], files: Iterable[str], environ: Mapping[str, str]
) -> list[str]:
    """Return ``env`` with the variables of the files, then those of ``--env``; the later one wins.

    A ``KEY`` alone is taken from ``environ``. One that is not set there is left out of a file, and removed by
    ``--env``, even if ``env`` has it.
    """
    changes: dict[str, str | None] = {}
    for file in files:
        changes.update(_read(file, environ))
    for value in values:
        key, equals, text = value.partition("=")
        if not key:
            # Not the whole of it: it may be a secret.
            raise refused("--env", "=...", "give KEY=VALUE, or KEY alone to take it from this environment")
        changes[key] = text if equals else environ.get(key)
    kept = [entry for entry in env if entry.partition("=")[0] not in changes]
    return kept + [f"{key}={text}" for key, text in changes.items() if text is not None]


def _read(file: str, environ: Mapping[str, str]) -> dict[str, str | None]:
    try:
        text = Path(file).read_bytes().decode()
    except OSError as error:
        raise refused("--env-file", file, f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise refused("--env-file", file, "it is not utf-8") from error
    found: dict[str, str | None] = {}
    for number, line in enumerate(text.removeprefix(_BOM).split("\n"), 1):
        key, equals, value = line.removesuffix("\r").lstrip().partition("=")
        if key.startswith("#") or not (key or equals):
            continue
        if not key or len(key.split()) > 1 or key != key.rstrip():
            raise refused("--env-file", file, f"line {number} must be KEY=VALUE, KEY alone, or a comment with '#'")
        if equals or key in environ:
            found[key] = value if equals else environ[key]
    return found
