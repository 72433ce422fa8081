"""Which running plugins are watched, and what each of them uses."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from pluginexec.errors import FailedPrecondition, NotFound, Unknown
from pluginexec.host.programs import AllRecords
from pluginexec.host.records import is_alive
from pluginexec.host.usage import Usage, cpu_percent, measure
from pluginexec.linux.cgroups import cgroup_of


@dataclass(frozen=True)
class Sample:
    """What one plugin uses; ``cpu_percent`` is ``None`` in the first sample of a life, which shows no difference."""

    id: str
    usage: Usage
    cpu_percent: float | None


class Watch:
    """The running plugins of a root, or some of them, looked at again and again."""

    def __init__(self, records: AllRecords, ids: Sequence[str] = ()) -> None:
        """Watch ``ids``, or whatever runs; ``FailedPrecondition`` for one that does not run."""
        self._records = records
        self._ids = list(dict.fromkeys(ids))
        self._before: dict[tuple[str, float], Usage] = {}
        for id in self._ids:
            if not is_alive(records.state(id)):
                raise FailedPrecondition("it is not running", operation="stats", id=id)

    def sample(self) -> list[Sample]:
        """Return what each plugin that runs uses, and how much CPU since it was last asked."""
        usages, samples = {}, []
        for id in self._ids or self._records.all_ids():
            with contextlib.suppress(NotFound, Unknown):  # removed meanwhile, or its record is broken: ps tells
                state = self._records.state(id)
                if is_alive(state):
                    usage = measure(state.pid, cgroup_of(state.pid, self._records.spec(id)))
                    life = (id, state.pid_started)
                    before = self._before.get(life)
                    samples.append(Sample(id, usage, cpu_percent(before, usage) if before else None))
                    usages[life] = usage
        self._before = usages
        return samples

    def is_over(self) -> bool:
        """Return whether all the plugins that were named have ended, and no restart is pending."""
        return bool(self._ids) and not any(self._may_run(id) for id in self._ids)

    def _may_run(self, id: str) -> bool:
        try:
            state = self._records.state(id)
        except NotFound:
            return False
        return state.status == "restarting" or is_alive(state)
