"""The sink for docker's json-file format: its options, and what streams make of it.

Real: the files. There is no containerd and no logger; that is for ``tests/integration/executor/test_json_file.py``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pluginexec import InvalidArgument, JsonFile
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.streams.sinks import Sink, check_sink
from pluginexec.streams.streams import Streams
from tests.support.harness import Buffer, held_descriptors
from tests.unit.streams.test_shell_logger import take_apart


@pytest.fixture
def files(tmp_path: Path) -> PluginFiles:
    files = PluginFiles(tmp_path / "p")
    files.make({})
    return files


@pytest.mark.parametrize(
    ("options", "max_size", "max_file"),
    [
        ({}, 10_000_000, 3),
        ({"max-size": "10m"}, 10_000_000, 3),
        ({"max-size": "500k", "max-file": "1"}, 500_000, 1),
        ({"max-size": "1G"}, 10**9, 3),
        ({"max-size": "2 MB"}, 2_000_000, 3),
        ({"max-size": "4096", "max-file": "20"}, 4096, 20),
        ({"max-size": "-1"}, -1, 3),
    ],
)
def test_dockers_options_mean_what_they_mean_to_docker(options: dict[str, str], max_size: int, max_file: int) -> None:
    assert JsonFile.from_options("log", options) == JsonFile("log", max_size, max_file)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compress": "true"}, "'compress' is unknown"),
        ({"max-size": "much"}, "max-size=much"),
        ({"max-size": "0"}, "max-size=0"),
        ({"max-size": ""}, "max-size="),
        ({"max-size": "-2"}, "max-size=-2"),
        ({"max-size": "٣"}, "max-size=٣"),
        ({"max-file": "0"}, "max-file=0"),
        ({"max-file": "-1"}, "max-file=-1"),
        ({"max-file": "x"}, "max-file=x"),
    ],
)
def test_an_option_that_is_wrong_is_named_with_what_may_be_given(options: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as caught:
        JsonFile.from_options("log", options)
    assert caught.value.hint


@pytest.mark.parametrize(
    "arguments", [(5,), ("log", 0), ("log", -2), ("log", 1.5), ("log", True), ("log", 1, 0), ("log", 1, "3")]
)
def test_a_value_out_of_range_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidArgument, match="json-file"):
        JsonFile(*arguments)


@pytest.mark.parametrize(
    ("both", "kept"), [((True, True), "stdout,stderr"), ((True, False), "stdout"), ((False, True), "stderr")]
)
def test_its_logger_keeps_the_streams_it_was_given_for_and_there_is_no_fifo_and_no_relay(
    files: PluginFiles, tmp_path: Path, both: tuple[bool, bool], kept: str
) -> None:
    sink = JsonFile(tmp_path / "log", 5, 7)
    before = held_descriptors()
    streams = Streams.create(files, *(sink if wanted else None for wanted in both))
    shell, _, script = take_apart(streams.arguments)
    assert shell == "/bin/sh"
    assert f"{tmp_path / 'log'} 5 7 {kept} {files.directory}; do" in script
    assert script.startswith("PATH=")
    assert str(files.config) in script
    assert set(os.listdir(files.directory)) == {"config.json", "exit.json.new"}
    assert held_descriptors() == before
    streams.start()
    assert streams.drain()


@pytest.mark.parametrize("other", ["writer", "path", "another JsonFile"])
def test_it_stands_beside_nothing_else(files: PluginFiles, tmp_path: Path, other: str) -> None:
    sink = JsonFile(tmp_path / "log")
    others: dict[str, Sink] = {"writer": Buffer(), "path": tmp_path / "x", "another JsonFile": JsonFile(tmp_path / "x")}
    for pair in ((sink, others[other]), (others[other], sink)):
        with pytest.raises(InvalidArgument, match="something else"):
            Streams.create(files, *pair)
    assert set(os.listdir(files.directory)) == {"config.json", "exit.json.new"}


def test_a_file_that_cannot_be_written_is_refused(files: PluginFiles, tmp_path: Path) -> None:
    sink = JsonFile(tmp_path / "missing" / "log")
    with pytest.raises(InvalidArgument, match="missing/log"):
        Streams.create(files, sink, sink)


def test_a_restore_may_name_it_again_where_it_is_used_but_not_for_a_fifo(files: PluginFiles, tmp_path: Path) -> None:
    sink = JsonFile(tmp_path / "log")
    streams = Streams.open(files, sink, sink)
    streams.start()
    streams.stop()
    os.mkfifo(files.stdout)
    before = held_descriptors()
    with pytest.raises(InvalidArgument, match="only be given to create"):
        Streams.open(files, sink, sink)
    assert held_descriptors() == before


def test_it_is_a_sink() -> None:
    check_sink(JsonFile("log"))
