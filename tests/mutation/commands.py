"""The guards of starts and of the commands that make them."""

from __future__ import annotations

from tests.mutation.guard import Guard

LIVES = "tests/integration/executor/test_lives.py"
RESTORE = "tests/integration/executor/test_restore.py"


COMMANDS = (
    # What is in the way of a create, and what a failed one leaves.
    Guard(
        "what a start without an answer left is removed only if that start made it",
        "executor/lifecycle.py",
        "if _ANY in marks or not self._client.is_unmarked(id, *sorted(marks)):",
        "if True:",
        "tests/integration/executor/test_lifecycle.py::test_a_start_without_an_answer_does_not_end_somebody_elses_plugin_of_that_id",
        "KeyError",
    ),
    Guard(
        "a stale container is removed",
        "executor/lifecycle.py",
        "else:\n            self._remove_stale(id)",
        "else:\n            raise error",
        "tests/integration/executor/test_lifecycle.py::test_a_stale_container_is_replaced[without files-stopped]",
        "AlreadyExists.*container .* already exists",
    ),
    Guard(
        "stale state of the runtime is removed",
        "executor/lifecycle.py",
        "# Left by a containerd that has forgotten it.",
        "raise error",
        "tests/integration/executor/test_lifecycle.py::"
        "test_state_of_the_runtime_that_containerd_has_forgotten_is_replaced[without files-no container]",
        "AlreadyExists.*given ID already exists",
    ),
    Guard(
        "the files of a plugin that may run are not touched",
        "executor/lifecycle.py",
        "self._remove_stale(files.id)",
        "pass",
        "tests/integration/executor/test_lifecycle.py::"
        "test_a_container_that_is_alive_is_left_as_it_is[with files-RUNNING]",
        "At index 2 diff",
    ),
    Guard(
        "a start that failed leaves no container",
        "executor/lifecycle.py",
        "if not isinstance(error, FailedPrecondition) or error.returncode is not None:",
        "if False:",
        f"{LIVES}::test_a_failed_start_leaves_nothing_behind",
        r"assert \['t.*'\] == \[\]",
    ),
    Guard(
        "a create that fails after the start leaves no container",
        "executor/executor.py",
        "self._lifecycle.remove_half_made(id)",
        "pass",
        f"{LIVES}::test_a_create_that_fails_after_the_start_leaves_nothing_behind",
        r"RUNNING.* == \{\}",
    ),
    Guard(
        "an id waits for the commands of an executor that was killed",
        "executor/executor.py",
        "self._orphans.wait(id)",
        "pass",
        "tests/faults/test_own_death.py::test_an_id_whose_ctr_run_goes_on_is_not_created_twice",
        "DID NOT RAISE AlreadyExists",
    ),
    Guard(
        "one executor uses a root",
        "root.py",
        "if self._lock is None:",
        "if False:",
        f"{LIVES}::test_a_second_executor_on_the_root_is_refused",
        "DID NOT RAISE FailedPrecondition",
    ),
    # How commands are run.
    Guard(
        "a command in the background dies with us",
        "containerd/ctr.py",
        'prefix = (setpriv, "--pdeathsig", "KILL", "--")',
        'prefix = (setpriv, "--")',
        f"{RESTORE}::test_no_child_outlives_a_killed_process",
        "their end did not come true",
    ),
    Guard(
        "a command does not see our variables for containerd",
        "containerd/ctr.py",
        " and not k.startswith(_SCRUBBED_PREFIX)",
        "",
        "tests/unit/containerd/test_ctr.py::test_a_command_does_not_inherit_what_would_change_its_meaning",
        "CONTAINERD_SNAPSHOTTER=1234",
    ),
    Guard(
        "a command has a session of its own",
        "containerd/ctr.py",
        "start_new_session=True",
        "start_new_session=False",
        "tests/unit/containerd/test_ctr.py::test_a_command_has_a_session_of_its_own_and_no_stdin",
        r"assert '\d+' == '\d+'",
    ),
    Guard(
        "an id cannot be a flag of ctr run",
        "containerd/client.py",
        '        "--",\n        id,\n',
        "        id,\n",
        "tests/unit/containerd/test_client.py::test_the_arguments_of_run_have_flags_before_the_dashes_and_the_id_after[nothing]",
        "'a' != '--'",
    ),
    Guard(
        "an id cannot be a flag of a deletion",
        "containerd/client.py",
        '"containers", "rm", "--", id',
        '"containers", "rm", id',
        "tests/unit/containerd/test_client.py::test_an_operation_is_one_command[delete-container]",
        "'rm', 'a'",
    ),
)
