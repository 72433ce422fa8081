"""A bundle that containerd has forgotten. Real: containerd, and its directory, in which the tests leave one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec.cleanup.bundles import find_bundle


@pytest.mark.parametrize(
    "message",
    [
        "ctr: task x: already exists",
        "ctr: mkdir /s/io.containerd.runtime.v2.task/plugins.moby/y: file exists",
        "ctr: mkdir /s/io.containerd.runtime.v2.task/other/x: file exists",
        "ctr: mkdir /home/plugins.moby/x: file exists",
        "ctr: mkdir /s/io.containerd.runtime.v2.task/plugins.moby/x/../..: file exists",
        "ctr: mkdir /s/io.containerd.runtime.v2.task/plugins.moby/x: permission denied",
    ],
)
def test_nothing_but_a_bundle_of_this_id_is_taken_for_one(message: str) -> None:
    assert find_bundle(message, "plugins.moby", "x") is None


def test_a_bundle_is_found_in_the_words_of_each_version() -> None:
    path = "/a b/state/io.containerd.runtime.v2.task/plugins.moby/x"
    for words in ("ctr: failed to start shim: mkdir {}: file exists: unknown", "ctr: mkdir {}: file exists"):
        assert find_bundle(words.format(path), "plugins.moby", "x") == Path(path)
