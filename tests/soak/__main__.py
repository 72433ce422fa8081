"""Run a soak: ``python -m tests.soak [--minutes N] [--seed S]``; the exit code is 0 if nothing was lost or leaked."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys

from tests.soak.run import soak


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="random plugins, random faults, a model")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults are injected (%(default)g)")
    parser.add_argument("--seed", default=None, help="throw the same dice again; by default others each time")
    parser.add_argument("--verbose", action="store_true", help="show what the package logs")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING if options.verbose else logging.CRITICAL, format="%(asctime)s %(name)s: %(message)s"
    )
    seed = options.seed or secrets.token_hex(4)
    print(f"soak of {options.minutes:g} minutes, --seed {seed}", flush=True)
    try:
        counts = soak(options.minutes * 60, seed)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(f"\n{counts}\n(--seed {seed})", flush=True)
    return 0 if counts.good else 1


if __name__ == "__main__":
    sys.exit(main())
