"""Run the benchmarks: ``python -m tests.bench [--quick] [--rounds N] [ROW...]``, as root, from the repository's root.

The exit code is 0 if all work was done right, however long that took.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.bench.arena import Arena, arena
from tests.bench.benchmarks import BENCHMARKS, DOCKERD
from tests.bench.effort import FULL, QUICK, Effort
from tests.bench.plot import svg
from tests.bench.rows import Measured
from tests.bench.table import table

_FOOT = "Medians, and the quartiles in parentheses; a ratio is that of neighbours in time, which take turns."


def main() -> int:
    """Run what was chosen; return the exit code."""
    options = _parse(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    effort = QUICK if options.quick else FULL
    if options.rounds:
        effort = dataclasses.replace(effort, rounds=options.rounds, long_rounds=options.rounds)
    chosen = options.benchmarks or [name for name in BENCHMARKS if name != DOCKERD or not options.quick]
    began = time.time()
    try:
        with arena() as place:
            done = {name: _run(name, place, effort) for name in chosen}
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    measured = [one for one in done.values() if one]
    _report(measured, options.output, effort, time.time() - began)
    return 0 if len(measured) == len(chosen) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="what it costs, beside its peers")
    parser.add_argument("benchmarks", nargs="*", metavar="ROW", help=f"which: {', '.join(BENCHMARKS)}; by default all")
    parser.add_argument("--quick", action="store_true", help="a little of each: shows that they work, measures little")
    parser.add_argument("--rounds", type=int, help="how often each side has its turn")
    parser.add_argument(
        "--output", type=Path, default=Path(".tox/bench-results"), help="where the results go (%(default)s)"
    )
    options = parser.parse_args(arguments)
    for name in options.benchmarks:
        if name not in BENCHMARKS:
            parser.error(f"no such row: {name}")
    return options


def _run(name: str, place: Arena, effort: Effort) -> Measured | None:
    """Run one benchmark and show its rows; what was not done right is told, and the others go on."""
    print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
    try:
        measured = BENCHMARKS[name](place, effort)
    except Exception:
        print(f"{name} was not done right:", file=sys.stderr)
        traceback.print_exc()
        return None
    print(table(measured.rows), flush=True)
    return measured


def _report(measured: Sequence[Measured], directory: Path, effort: Effort, seconds: float) -> None:
    """Print the whole table, and write it as JSON and as a picture."""
    rows = [row for one in measured for row in one.rows]
    panels = [panel for one in measured for panel in one.panels]
    directory.mkdir(parents=True, exist_ok=True)
    result = {
        "seconds": round(seconds, 1),
        "effort": dataclasses.asdict(effort),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "load": os.getloadavg(),
        "rows": [row.as_json() for row in rows],
        "curves": [dataclasses.asdict(panel) for panel in panels],
    }
    (directory / "bench.json").write_text(json.dumps(result, indent=1))
    print(f"\n{table(rows)}\n\n{_FOOT}\n{seconds:.0f} s in all; written: {directory}/bench.json", end="")
    if panels:
        (directory / "bench.svg").write_text(svg(panels))
        print(f", {directory}/bench.svg", end="")
    print()


if __name__ == "__main__":
    sys.exit(main())
