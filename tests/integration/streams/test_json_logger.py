"""The json-file logger on a disk that is full. Real: the disk, a tmpfs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginexec.streams.json_logger import JsonLog
from tests.support.shortages import Disk
from tests.unit.streams.test_json_logger import texts


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.end()


@pytest.mark.parametrize("spare", [0, 1, 3])
def test_what_a_full_disk_does_not_take_is_discarded_and_no_entry_stays_half_written(disk: Disk, spare: int) -> None:
    path = disk.directory / "log"
    log = JsonLog(str(path), max_size=1 << 20, max_file=2)
    log.write("stdout", b"first\n")
    disk.spoil("full", spare)
    for number in range(300):
        log.write("stdout", b"%099d\n" % number)
    before = texts(path)
    assert before[0] == "first\n"
    assert path.read_bytes().endswith(b"}\n")
    disk.repair()
    log.write("stdout", b"again\n")
    log.close()
    assert texts(path) == [*before, "again\n"]


def test_where_no_new_file_can_be_made_the_older_ones_stay_and_it_goes_on_when_one_can(disk: Disk) -> None:
    path = disk.directory / "log"
    log = JsonLog(str(path), max_size=100, max_file=3)
    for number in range(3):
        log.write("stdout", b"%d\n" % number)
    log.close()
    path.unlink()
    disk.spoil("out of inodes")
    for _ in range(10):
        log.write("stdout", b"lost\n")
    assert [texts(path.with_name(f"log.{number}")) for number in (2, 1)] == [["0\n"], ["1\n"]]
    disk.repair()
    log.write("stdout", b"again\n")
    log.close()
    assert texts(path) == ["again\n"]
