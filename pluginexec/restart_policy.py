"""Restart policies: docker's, with its pauses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pluginexec.errors import InvalidArgument, shown

FIRST_PAUSE = 0.1
"""Seconds before the first restart; twice as long before each further one."""
LONGEST_PAUSE = 60.0
STEADY_AFTER = 10.0
"""Seconds after which a plugin has run well: the pauses begin anew; the limit, as docker's, does not."""

_POLICY = re.compile(r"(no|always|unless-stopped|on-failure)(?::([0-9]{1,9}))?")


@dataclass(frozen=True)
class RestartPolicy:
    """When a plugin that has ended is started again; ``limit``: how often at most since a person started it, 0: any."""

    name: str
    limit: int = 0

    def wants_restart(self, exit_code: int | None, restarts: int) -> bool:
        """Return whether a plugin that was not stopped is to be restarted; ``restarts``: how often it was already."""
        if self.name == "on-failure":
            # One with an unknown exit code may have failed.
            return exit_code != 0 and not self.gives_up(restarts)
        return self.name in ("always", "unless-stopped")

    def gives_up(self, restarts: int) -> bool:
        """Return whether it was started again as often as the policy allows."""
        return bool(self.limit) and restarts >= self.limit


def parse_policy(text: str) -> RestartPolicy:
    """Parse ``no``, ``always``, ``unless-stopped``, ``on-failure`` or ``on-failure:N``."""
    found = _POLICY.fullmatch(text)
    if not found or (found[2] and found[1] != "on-failure"):
        raise InvalidArgument(
            f"restart policy {shown(text)} is not known: use no, on-failure[:max-retries], always or unless-stopped"
        )
    return RestartPolicy(found[1], int(found[2] or 0))


def pause_before(restarts: int, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> float:
    """Return the seconds to wait before the next restart, after so many in a row: doubled with each, up to a bound."""
    return float(min(longest, first * 2 ** min(restarts, 16)))
