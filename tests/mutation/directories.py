"""The guards of directories and records: what another user could change is not used, nor what another boot left."""

from __future__ import annotations

from tests.mutation.guard import Guard

USERS = "tests/integration/test_other_users.py"

DIRECTORIES = (
    Guard(
        "a directory of another user is refused",
        "pluginexec.linux.directories:_check_itself",
        "status.st_uid != os.geteuid()",
        "False",
        f"{USERS}::test_an_executor_refuses_such_a_directory[belongs to user]",
        "lies below the directory",
    ),
    Guard(
        "a directory that others can write to is refused",
        "pluginexec.linux.directories:_check_itself",
        "status.st_mode & _OTHERS_WRITE",
        "0",
        f"{USERS}::test_an_executor_refuses_such_a_directory[can be written by other users]",
        "lies below .*, which other users can",
    ),
    Guard(
        "a record is no link",
        "pluginexec.linux.files:open_plain",
        "flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC",
        "flags | os.O_NONBLOCK | os.O_CLOEXEC",
        f"{USERS}::test_a_record_is_no_link",
        "DID NOT RAISE",
    ),
    Guard(
        "a pid of another boot is not the plugin's",
        "pluginexec.host.records:hold_process",
        "is_of_another_boot(state)",
        "False",
        "tests/integration/cli/test_state.py::test_a_pid_that_came_again_after_a_reboot_is_not_taken_for_the_plugins",
        "assert not (True|is_alive)",
    ),
)
