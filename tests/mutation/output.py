"""The guards of what a plugin prints, from the logger to the writer."""

from __future__ import annotations

from tests.mutation.guard import Guard

RESTORE = "tests/integration/executor/test_restore.py"
STREAMS = "tests/integration/executor/test_streams.py"


OUTPUT = (
    # The logger.
    Guard(
        "the logger ignores the signals that ask it to end",
        "pluginexec.streams.shell_logger:_SCRIPT",
        "trap '' HUP INT TERM",
        ":",
        "tests/unit/streams/test_shell_logger.py::test_the_logger_lives_on_after_the_signals_that_ask_it_to_end",
        "BrokenPipeError|== b'lastwords'",
    ),
    Guard(
        "the logger's shell waits while its cats copy",
        "pluginexec.streams.shell_logger:_SCRIPT",
        "exec 3<&- 4<&-\nwait\n",
        "exec 3<&- 4<&-\n",
        "tests/unit/streams/test_shell_logger.py::test_a_stream_that_ends_does_not_end_the_other",
        r"name='sh', status='zombie'\) in |no process found|in set\(\)",
    ),
    Guard(
        "the logger holds what nobody has read",
        "pluginexec.streams.shell_logger:logger_arguments",
        "script + hold",
        "script",
        f"{RESTORE}::test_last_words_are_kept_though_the_task_is_deleted_while_nobody_reads",
        r"assert b'' == b'1\\n2",
    ),
    Guard(
        "the logger keeps what a reader left that died",
        "pluginexec.streams.shell_logger:_KEEP",
        "exec {read_ends}",
        "exec",
        "tests/unit/streams/test_shell_logger.py::test_what_a_reader_left_that_died_is_kept_for_the_next",
        "assert b'' == b'strds'",
    ),
    Guard(
        "the logger opens a FIFO that nobody reads",
        "pluginexec.streams.shell_logger:redirect_to_fifo",
        'f"<>{shlex.quote(str(path))}"',
        'f">{shlex.quote(str(path))}"',
        "tests/unit/streams/test_shell_logger.py::test_descriptor_5_is_closed_while_the_container_has_said_nothing_and_nobody_reads",
        "did not close descriptor 5",
    ),
    Guard(
        "the logger's writes do not fail while nobody reads",
        "pluginexec.streams.shell_logger:redirect_to_fifo",
        'f"<>{shlex.quote(str(path))}"',
        'f">{shlex.quote(str(path))}"',
        f"{RESTORE}::test_the_last_words_of_a_plugin_that_ended_meanwhile_arrive",
        r"assert b'' == b'1\\n2|STOPPED did not come true",
    ),
    # The streams.
    Guard(
        "what a failed writer no longer takes is read and discarded",
        "pluginexec.streams.relay:Relay._deliver",
        "self._failed = True",
        "raise",
        "tests/unit/streams/test_relay.py::"
        "test_a_writer_that_fails_half_way_is_logged_and_closed_once_and_does_not_block_the_plugin[raises]",
        "nobody reads",
    ),
    Guard(
        "the runtime's complaint about a start that failed reaches no writer",
        "pluginexec.executor.lifecycle:Lifecycle._start",
        "streams.discard()",
        "streams.start(), streams.drain()",
        f"{STREAMS}::test_runcs_own_complaint_reaches_no_writer",
        r"\(1, 1\) == \(0, 0\)",
    ),
    Guard(
        "a FIFO is made afresh for every create",
        "pluginexec.streams.sinks:prepare",
        "os.mkfifo(fifo, 0o600)",
        "fifo.exists() or os.mkfifo(fifo, 0o600)",
        "tests/unit/streams/test_streams.py::test_what_an_earlier_plugin_left_in_its_fifo_is_never_mixed_with_a_new_one",
        "DID NOT RAISE InvalidArgument",
    ),
    Guard(
        "the file that makes the logger hold is there before the start",
        "pluginexec.streams.streams:Streams.open",
        "streams._lock, streams._attached = files.attach(), files.attached",
        "pass",
        f"{RESTORE}::test_last_words_are_kept_though_the_task_is_deleted_while_nobody_reads",
        r"assert b'' == b'1\\n2",
    ),
    Guard(
        "the logger is told that all was read",
        "pluginexec.streams.streams:Streams.drain",
        "self._attached.unlink()",
        "pass",
        "tests/unit/streams/test_streams.py::test_the_logger_is_told_that_all_was_read",
        "assert not True",
    ),
    Guard(
        "the runtime's complaint about a start whose executor died reaches no writer",
        "pluginexec.executor.exits:ExitProcessor.process_unsupervised",
        "plugin.streams.abandon()",
        "plugin.streams.start()",
        "tests/faults/test_own_death.py::test_a_start_that_failed_after_our_death_leaves_nothing_and_says_nothing",
        "runc create failed",
    ),
    Guard(
        "a logger that blocks is ended after the deletion",
        "pluginexec.executor.exits:ExitProcessor._delete",
        "end_loggers(plugin.files)",
        "pass",
        "tests/unit/executor/test_exits.py::test_loggers_are_ended_where_they_blocked[a stream was given up]",
        r"assert \[\] == \[<pluginexec",
    ),
    Guard(
        "a cat that is killed is replaced",
        "pluginexec.streams.shell_logger:_COPY",
        "until cat; [ $? -lt 128 ]; do :; done",
        "cat",
        "tests/unit/streams/test_shell_logger.py::test_a_cat_that_is_killed_is_replaced_and_only_what_it_held_is_lost[fifo]",
        "BrokenPipeError|both copies did not come true",
    ),
    # The command line.
    Guard(
        "a reader that goes away ends the plugin of run",
        "pluginexec.cli.foreground:StandardStream.write",
        "self._when_broken()",
        "pass",
        "tests/integration/cli/test_run.py::test_a_reader_that_goes_away_ends_the_plugin_in_silence[stdout]",
        "TimeoutExpired",
    ),
    Guard(
        "one who follows a log looks for newer files while it reads",
        "pluginexec.host.logs.reader:_JsonReader._lines",
        "yield from lines[begin : begin + _LOOK_AFTER]\nself._find_newer()",
        "yield from lines[begin : begin + _LOOK_AFTER]",
        "tests/unit/host/logs/test_follow.py::test_one_who_reads_slower_than_the_log_is_rotated_loses_nothing",
        r"assert \[1, 2, 3",
    ),
)
