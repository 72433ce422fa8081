"""The command line: parse, call, print. What containerd is like is known elsewhere."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end with its exit code."""
    arguments = sys.argv[1:]
    code: object
    try:
        # Here, for Ctrl-C may come as early as this.
        from pluginexec.cli.group import run

        code = run(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        from pluginexec.cli.errors import end_with

        code = end_with(error, arguments)
    # What nobody can read any more shows now, and not as a complaint of the interpreter when it ends.
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            from pluginexec.cli.errors import end_without

            code = end_without(stream, error, code, arguments)
    sys.exit(code)  # type: ignore[arg-type] # a number, or what a command itself gave to SystemExit
