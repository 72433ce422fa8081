"""The command line: parse arguments, call the host layer, print results."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its exit code."""
    arguments = sys.argv[1:]
    code: object
    try:
        # Inside the try block, because Ctrl-C may arrive during this import.
        from pluginexec.cli.group import run

        code = run(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        from pluginexec.cli.errors import end_with

        code = end_with(error, arguments)
    # Flush here: a closed pipe or full disk would otherwise make the interpreter print an error when it exits.
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            from pluginexec.cli.errors import end_without

            code = end_without(stream, error, code, arguments)
    sys.exit(code)  # type: ignore[arg-type] # a number, or the argument of a SystemExit of a command
