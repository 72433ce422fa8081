"""Run a command in a plugin of a root."""

from __future__ import annotations

from pluginexec.containerd.error_messages import invocation_code
from pluginexec.containerd.runc import Command, RuntimeExec
from pluginexec.errors import PluginExecError
from pluginexec.host.programs import AllRecords
from pluginexec.host.records import is_alive
from pluginexec.linux.cgroups import cgroup_of, is_paused
from pluginexec.types import Writer


class Exec(RuntimeExec):
    """One command in a running plugin of a root.

    Raises ``NotFound`` and ``InvalidArgument`` as ``Records.resolve``, ``FailedPrecondition`` for a plugin that does
    not run, or is paused.
    """

    def __init__(self, records: AllRecords, reference: str, command: Command) -> None:
        id = records.resolve(reference)
        record = records.record(id)
        spec = records.spec(id)
        super().__init__(
            id,
            command,
            command.process(spec),
            runtime=record.runtime,
            runtime_root=records.layout.runtime_root / record.namespace,
            within=records.work_directory(id),
        )
        self._records = records
        state = records.state(id)
        if not is_alive(state):
            raise self.failed("it is not running", f"start it with 'pluginexec start {id}'")
        if is_paused(cgroup_of(state.pid, spec)):
            raise self.failed("it is paused", f"let it go on with 'pluginexec unpause {id}'")

    def wait(self, stderr: Writer, timeout: float | None = None) -> int:
        """As for any exec; where the plugin has ended meanwhile the error says that."""
        try:
            return super().wait(stderr, timeout)
        except PluginExecError as error:
            if invocation_code(error) or is_alive(self._records.state(self.id)):
                raise
            raise self.failed("it has ended", "see its exit code with 'pluginexec ps -a'") from error
