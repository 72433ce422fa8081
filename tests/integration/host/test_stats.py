"""Which plugins are watched. Real: containerd, plugins with records, the kernel's counters."""

from __future__ import annotations

import pytest

from pluginexec.errors import FailedPrecondition, NotFound
from pluginexec.host.stats import Watch
from tests.support.harness import wait_until
from tests.support.plugins import Plugins


def ids(watch: Watch) -> list[str]:
    return [sample.id for sample in watch.sample()]


def test_all_that_run_are_watched_and_those_that_start_later_too(plugins: Plugins) -> None:
    watch = Watch(plugins.records)
    assert ids(watch) == []
    assert not watch.is_over()
    plugins.create()
    first = plugins.run()
    assert ids(watch) == [first]
    second = plugins.run()
    assert set(ids(watch)) == {first, second}


def test_only_those_that_were_named_are_watched_each_once(plugins: Plugins) -> None:
    first, _, last = plugins.run(), plugins.run(), plugins.run()
    assert ids(Watch(plugins.records, [last, first, last])) == [last, first]


def test_one_that_does_not_run_cannot_be_watched(plugins: Plugins) -> None:
    with pytest.raises(FailedPrecondition, match="it is not running"):
        Watch(plugins.records, [plugins.create()])
    with pytest.raises(NotFound):
        Watch(plugins.records, ["nope"])


def test_one_that_ends_or_is_removed_disappears_and_with_the_last_it_is_over(plugins: Plugins) -> None:
    first, last = plugins.run(), plugins.run()
    watch = Watch(plugins.records, [first, last])
    plugins.host.stop(first, 0)
    assert ids(watch) == [last]
    assert not watch.is_over()
    plugins.host.stop(last, 0)
    plugins.host.remove(last)
    assert ids(watch) == []
    assert watch.is_over()


def test_one_that_waits_to_be_started_again_is_waited_for(plugins: Plugins) -> None:
    id = plugins.run()
    watch = Watch(plugins.records, [id])
    plugins.host.stop(id, 0)
    assert watch.is_over()
    with plugins.records.lock(id):
        plugins.records.change_state(id, status="restarting")
    assert ids(watch) == []
    assert not watch.is_over()


def test_cpu_is_known_from_the_second_sample_of_each_life(plugins: Plugins) -> None:
    id = plugins.run("while :; do :; done")
    watch = Watch(plugins.records)
    assert [sample.cpu_percent for sample in watch.sample()] == [None]
    wait_until(lambda: (watch.sample()[0].cpu_percent or 0) > 1, "a percent of CPU")
    plugins.host.stop(id, 0)
    plugins.host.start(id)
    assert [sample.cpu_percent for sample in watch.sample()] == [None]
