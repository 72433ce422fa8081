"""The guards of exits: each is told once, none is lost, and in which order."""

from __future__ import annotations

from tests.mutation.guard import Guard

LIVES = "tests/integration/executor/test_lives.py"
RECONCILE = "tests/integration/executor/test_reconcile.py"
DEATH = "tests/faults/test_own_death.py"
STREAMS = "tests/integration/executor/test_streams.py"


EXITS = (
    # Which report of an end counts.
    Guard(
        "only the pid that we know ends a plugin",
        "pluginexec.executor.plugins:PluginTable.match_exit",
        "plugin.pid != event.pid",
        "False",
        f"{LIVES}::test_a_late_duplicate_of_an_earlier_exit_does_not_end_the_next_life",
        "False = is_running",
    ),
    Guard(
        "only the init process ends a plugin",
        "pluginexec.executor.plugins:PluginTable.match_exit",
        "event.process_id != event.container_id",
        "False",
        "tests/unit/executor/test_plugins.py::test_any_other_exit_event_ends_nothing[of an exec]",
        r"assert SupervisedPlugin\(.* is None",
    ),
    Guard(
        "a second report of an exit counts for nothing",
        "pluginexec.executor.plugins:PluginTable.match_exit",
        "plugin.state is not State.RUNNING",
        "False",
        "tests/unit/executor/test_plugins.py::test_a_second_exit_event_ends_nothing",
        r"assert SupervisedPlugin\(.* is None",
    ),
    Guard(
        "what was noted by an event is not found again by a look",
        "pluginexec.executor.plugins:PluginTable.claim_exit",
        "claimed = plugin.state is State.RUNNING",
        "claimed = True",
        "tests/unit/executor/test_plugins.py::test_exactly_one_of_many_reports_of_one_exit_counts",
        r"assert \d+ == 1",
    ),
    Guard(
        "an event that comes before the start is known is held back",
        "pluginexec.executor.plugins:PluginTable.match_exit",
        "plugin.pending_exits.append(event)",
        "pass",
        "tests/unit/executor/test_plugins.py::test_an_exit_that_comes_before_the_start_is_known_is_held_back",
        "assert None is EventInfo",
    ),
    Guard(
        "an event that was held back is dealt with when the plugin runs",
        "pluginexec.executor.plugins:PluginTable.started",
        "event.pid == plugin.pid",
        "False",
        f"{LIVES}::test_a_plugin_that_ends_before_create_returns_has_its_one_exit",
        "At index 1 diff: datetime",
    ),
    Guard(
        "events of other namespaces are ignored",
        "pluginexec.containerd.events:EventStream._take",
        "event.namespace != self._ctr.namespace",
        "False",
        "tests/integration/containerd/test_events.py::test_events_of_other_namespaces_are_ignored",
        r"\['foreign', 'ours'\] == \['ours'\]",
    ),
    # Ends that no event tells.
    Guard(
        "an end that no event told is looked for",
        "pluginexec.executor.reconciler:Reconciler.reconcile",
        "self._table.exited()",
        "self._table.exited()[:0]",
        f"{RECONCILE}::test_an_exit_is_not_lost_with_the_event_stream[code from the kernel-19]",
        "0 of 1 exits",
    ),
    Guard(
        "the kernel tells of an end while the events hang",
        "pluginexec.executor.exit_watcher:ExitWatcher.add",
        "self._epoll.register(init.pidfd, select.EPOLLIN | select.EPOLLONESHOT)",
        "pass",
        f"{RECONCILE}::test_an_exit_is_not_lost_with_the_event_stream[code from containerd-19]",
        "0 of 1 exits",
    ),
    Guard(
        "a stream of events that missed an exit is replaced",
        "pluginexec.executor.reconciler:Reconciler.reconcile",
        "self._replace_events()",
        "pass",
        f"{RECONCILE}::test_the_stream_that_missed_an_exit_is_replaced",
        "another stream did not come true",
    ),
    Guard(
        "an answer that is no list of tasks does not end everything",
        "pluginexec.containerd.client:parse_tasks",
        "header.split() != _TASKS_HEADER",
        "False",
        "tests/unit/containerd/test_client.py::test_a_list_of_tasks_that_is_none_is_not_taken_for_an_empty_one[nothing]",
        "DID NOT RAISE Unknown",
    ),
    Guard(
        "a pid is not taken for a process that is older than the plugin",
        "pluginexec.linux.pidfd:InitProcess.open",
        "started is None or started < started_since or init.has_ended()",
        "started is None or init.has_ended()",
        "tests/unit/linux/test_pidfd.py::test_a_process_older_than_it_may_be_is_not_the_one_meant",
        r"InitProcess object at \w+> is None",
    ),
    Guard(
        "a pid file is not believed",
        "pluginexec.executor.lifecycle:Lifecycle.find",
        "init and init.pid == task.pid and not init.has_ended()",
        "init and not init.has_ended()",
        "tests/integration/executor/test_lifecycle.py::test_a_pid_file_that_names_another_process_is_not_believed[recycled]",
        r"assert \d+ == \d+",
    ),
    # The order of the steps at an end.
    Guard(
        "the exit is recorded before the deletion",
        "pluginexec.executor.exits:ExitProcessor._clean_up",
        "recorded = _record(plugin, status, level)\nself._delete(plugin)",
        "self._delete(plugin)\nrecorded = _record(plugin, status, level)",
        f"{DEATH}::test_killed_between_the_exit_record_and_the_handler[after]",
        "assert None == 3",
    ),
    Guard(
        "a restore keeps the record of this life",
        "pluginexec.executor.exits:ExitProcessor.process_unsupervised",
        "known and known.pid != plugin.pid",
        "known",
        f"{DEATH}::test_killed_between_the_exit_record_and_the_handler[after]",
        "assert None == 3",
    ),
    Guard(
        "the streams are drained before the handler is told",
        "pluginexec.executor.exits:ExitProcessor._delete",
        "plugin.streams.drain()",
        "threading.Thread(target=plugin.streams.drain).start()",
        f"{STREAMS}::test_writers_are_closed_before_the_handler_is_told",
        r"b'words', 0, 0\)\] == \[",
    ),
    Guard(
        "the id is free before the handler is told",
        "pluginexec.executor.exits:ExitProcessor._work",
        "self._remove(plugin)\nself._call_handler(plugin.id, status)",
        "self._call_handler(plugin.id, status)\nself._remove(plugin)",
        "tests/unit/executor/test_exits.py::test_an_end_is_recorded_then_deleted_then_drained_then_forgotten_then_told",
        "'handle x with a record' != 'remove",
    ),
    Guard(
        "a deletion is never cut short",
        "pluginexec.containerd.client:Client._delete",
        "max(self._ctr.timeout, DELETE_TIMEOUT)",
        "self._ctr.timeout",
        "tests/unit/containerd/test_client.py::test_a_deletion_is_never_cut_short[delete-container-too-short]",
        r"assert 1\.0 == 60\.0",
    ),
    Guard(
        "a Ctrl-C does not cut a deletion short",
        "pluginexec.containerd.client:Client._delete",
        "uninterrupted",
        "(lambda call: call())",
        "tests/faults/test_ctr.py::test_an_interrupt_does_not_cut_the_deletion_of_a_restore_short",
        r"assert \['t.*'\] == \[\]",
    ),
)
