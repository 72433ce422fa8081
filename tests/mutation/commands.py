"""The guards of starts and of the commands that make them."""

from __future__ import annotations

from tests.mutation.guard import Guard

LIVES = "tests/integration/executor/test_lives.py"
RESTORE = "tests/integration/executor/test_restore.py"


COMMANDS = (
    # What is in the way of a create, and what a failed one leaves.
    Guard(
        "what a start without an answer left is removed only if that start made it",
        "pluginexec.executor.lifecycle:Lifecycle.remove_half_made.remove",
        "_ANY in marks or not self._client.is_unmarked(id, *sorted(marks))",
        "True",
        "tests/integration/executor/test_lifecycle.py::test_a_start_without_an_answer_does_not_end_somebody_elses_plugin_of_that_id",
        "KeyError",
    ),
    Guard(
        "a stale container is removed",
        "pluginexec.executor.lifecycle:Lifecycle._remove_obstacle",
        "self._remove_stale(id)",
        "raise error",
        "tests/integration/executor/test_lifecycle.py::test_a_stale_container_is_replaced[without files-stopped]",
        "AlreadyExists.*container .* already exists",
    ),
    Guard(
        "stale state of the runtime is removed",
        "pluginexec.executor.lifecycle:Lifecycle._remove_obstacle",
        "self._client.delete_runtime_state(id, self._root.runtime_root)",
        "raise error",
        "tests/integration/executor/test_lifecycle.py::"
        "test_state_of_the_runtime_that_containerd_has_forgotten_is_replaced[without files-no container]",
        "AlreadyExists.*given ID already exists",
    ),
    Guard(
        "the files of a plugin that may run are not touched",
        "pluginexec.executor.lifecycle:Lifecycle._start_anew",
        "self._remove_stale(files.id)",
        "pass",
        "tests/integration/executor/test_lifecycle.py::"
        "test_a_container_that_is_alive_is_left_as_it_is[with files-RUNNING]",
        "At index 2 diff",
    ),
    Guard(
        "a task that containerd 2.3 leaves out because its shim hangs is asked for",
        "pluginexec.containerd.client:Client.tasks",
        "time.monotonic() - begun >= HUNG_SHIM",
        "False",
        "tests/faults/test_shims.py::test_create_leaves_the_plugin_of_that_id_alone[as in 2.3-with files]",
        "cannot delete a non stopped container",
    ),
    Guard(
        "a containerd that is busy has the time of the whole command to accept",
        "pluginexec.containerd.ctr:Ctr.argv",
        "limit if os.path.exists(self.address) else min(limit, ABSENT_TIMEOUT)",
        "min(limit, ABSENT_TIMEOUT)",
        "tests/unit/containerd/test_ctr.py::"
        "test_the_command_line_names_address_namespace_and_a_connect_timeout_that_is_the_commands_own[its-own]",
        "'60s'",
    ),
    Guard(
        "what an executor could not delete the next one deletes",
        "pluginexec.executor.executor:Executor.__init__",
        "self._deferred.load(self._lifecycle.delete_unfinished)",
        "False",
        "tests/integration/executor/test_unfinished.py::"
        "test_a_create_whose_containerd_was_killed_is_ended_by_the_next_executor",
        "the end of its shim did not come true",
    ),
    Guard(
        "a start that failed leaves no container",
        "pluginexec.executor.lifecycle:Lifecycle._run",
        "not isinstance(error, FailedPrecondition) or error.returncode is not None",
        "False",
        f"{LIVES}::test_a_failed_start_leaves_nothing_behind",
        r"assert \['t.*'\] == \[\]",
    ),
    Guard(
        "a create that fails after the start leaves no container",
        "pluginexec.executor.executor:Executor.create",
        "self._lifecycle.remove_half_made(id)",
        "pass",
        f"{LIVES}::test_a_create_that_fails_after_the_start_leaves_nothing_behind",
        r"RUNNING.* == \{\}",
    ),
    Guard(
        "an id waits for the commands of an executor that was killed",
        "pluginexec.executor.executor:Executor._starting",
        "self._in_flight.wait(id)",
        "pass",
        "tests/faults/test_own_death.py::test_an_id_whose_ctr_run_goes_on_is_not_created_twice",
        "DID NOT RAISE AlreadyExists",
        leaves="the command that goes on may still do so when the test has failed",
    ),
    Guard(
        "one executor uses a root",
        "pluginexec.root.root:Root.__init__",
        "self._lock is None",
        "False",
        f"{LIVES}::test_a_second_executor_on_the_root_is_refused",
        "DID NOT RAISE FailedPrecondition",
    ),
    # How commands are run.
    Guard(
        "a command in the background dies with us",
        "pluginexec.containerd.ctr:_mortal",
        '(setpriv, "--pdeathsig", "KILL", "--")',
        '(setpriv, "--")',
        f"{RESTORE}::test_no_child_outlives_a_killed_process",
        "their end did not come true",
    ),
    Guard(
        "a command does not see our variables for containerd",
        "pluginexec.containerd.ctr:clean_environment",
        "k != _SCRUBBED and not k.startswith(_SCRUBBED_PREFIX)",
        "k != _SCRUBBED",
        "tests/unit/containerd/test_ctr.py::test_a_command_does_not_inherit_what_would_change_its_meaning",
        "CONTAINERD_SNAPSHOTTER=1234",
    ),
    Guard(
        "a command has a session of its own",
        "pluginexec.containerd.ctr:_popen",
        "start_new_session=True",
        "start_new_session=False",
        "tests/unit/containerd/test_ctr.py::test_a_command_has_a_session_of_its_own_and_no_stdin",
        r"assert '\d+' == '\d+'",
    ),
    Guard(
        "an id cannot be a flag of ctr run",
        "pluginexec.containerd.client:run_arguments",
        '"--"',
        "*()",
        "tests/unit/containerd/test_client.py::test_the_arguments_of_run_have_flags_before_the_dashes_and_the_id_after[nothing]",
        "'a' != '--'",
    ),
    Guard(
        "an id cannot be a flag of a deletion",
        "pluginexec.containerd.client:Client.delete_container",
        '"--"',
        "*()",
        "tests/unit/containerd/test_client.py::test_an_operation_is_one_command[delete-container]",
        "'rm', 'a'",
    ),
)
