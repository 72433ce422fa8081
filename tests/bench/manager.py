"""A process that keeps one managed plugin enabled, as dockerd does, for its memory to be looked at.

``ADDRESS ROOT BUNDLE``: it says "ready" when the plugin is enabled, and disables it when its stdin ends.
"""

from __future__ import annotations

import sys

from pluginexec import Executor, ManagedPlugin, Remote


def main(address: str, root: str, bundle: str) -> int:
    """Keep it enabled."""
    with Executor(root, Remote(address)) as executor, ManagedPlugin(executor, bundle):
        print("ready", flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
