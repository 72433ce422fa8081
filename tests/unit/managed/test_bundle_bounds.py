"""A bundle that would take too much is refused in one line, before it has taken it, and leaves nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec import InvalidArgument, PluginExecError, Unavailable
from pluginexec.managed.archive import bounds, stream
from pluginexec.managed.bundle import unpack
from tests.support.deep import deep_directory, nest
from tests.support.tars import CONFIG, DIR, LNK, REG, SYM, TOP, Members, raw_tar, tar_of

TERABYTE = 1 << 40
SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
PAX = {"format": tarfile.PAX_FORMAT}


@pytest.fixture
def deep() -> Iterator[Path]:
    with deep_directory() as directory:
        yield directory


def with_config(path: Path, config: bytes | None = None) -> Path:
    """Make a bundle as a directory."""
    (path / "rootfs").mkdir(parents=True)
    (path / "config.json").write_bytes(CONFIG if config is None else config)
    return path


def sparse(name: str, size: int, pieces: list[tuple[int, bytes]]) -> Members:
    """Return an entry with holes, as GNU tar writes it in the format of POSIX."""
    numbers = [len(pieces), *(number for offset, data in pieces for number in (offset, len(data)))]
    table = "".join(f"{number}\n" for number in numbers).encode()
    data = table + bytes(-len(table) % 512) + b"".join(data for _, data in pieces)
    headers = {**SPARSE, "GNU.sparse.name": name, "GNU.sparse.realsize": str(size)}
    return [("GNUSparseFile/x", REG, {"data": data, "pax_headers": headers})]


def assert_refused(source: Path, directory: Path, says: str, kind: type[PluginExecError] = InvalidArgument) -> None:
    with pytest.raises(kind, match=says) as raised:
        unpack(source, directory / "out" / "target")
    assert str(raised.value).startswith(f"plugin '{source}': ")
    assert os.listdir(directory / "out") == []


def test_holes_stay_holes(tmp_path: Path) -> None:
    size = 1 << 34
    members = sparse("rootfs/s", size, [(0, b"begin"), (1 << 33, b"middle")])
    unpacked = [unpack(tar_of(tmp_path / "tar", members), tmp_path / "target")]
    unpacked.append(unpack(unpacked[0], tmp_path / "again"))
    for target in unpacked:
        status = (target / "rootfs" / "s").stat()
        assert status.st_size == size
        assert status.st_blocks < 1000
        with (target / "rootfs" / "s").open("rb") as file:
            assert file.read(6) == b"begin\0"
            file.seek(1 << 33)
            assert file.read(7) == b"middle\0"


@pytest.mark.parametrize(
    "pieces", [[(10, b"xx"), (11, b"x")], [(99, b"xx")], [(1 << 63, b"x")]], ids=["overlap", "behind the end", "far"]
)
def test_an_impossible_map_of_holes_is_refused(tmp_path: Path, pieces: list[tuple[int, bytes]]) -> None:
    source = tar_of(tmp_path / "tar", sparse("rootfs/s", 100, pieces))
    assert_refused(source, tmp_path, "entry 'rootfs/s' has an impossible size or map of its holes")


def test_a_configuration_of_a_terabyte_is_refused(tmp_path: Path) -> None:
    source = raw_tar(tmp_path / "tar", [*sparse("config.json", TERABYTE, []), *TOP[1:]])
    assert_refused(source, tmp_path, "config.json has more than 16 MiB")
    directory = with_config(tmp_path / "directory")
    os.truncate(directory / "config.json", TERABYTE)
    assert_refused(directory, tmp_path, "config.json has more than 16 MiB")


def test_a_file_that_grows_while_it_is_copied_ends_where_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = with_config(tmp_path / "directory")
    getxattr = os.getxattr

    def grow(file: int, name: str) -> bytes:
        with (directory / "config.json").open("ab") as config:
            config.write(b" " * 1000)
        return getxattr(file, name)

    monkeypatch.setattr(os, "getxattr", grow)
    assert (unpack(directory, tmp_path / "target") / "config.json").read_bytes() == CONFIG


def test_json_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    source = with_config(tmp_path / "directory", b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(InvalidArgument, match="nested deeper than"):
        unpack(source, tmp_path / "out" / "target")
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("size", [TERABYTE << 10, 1 << 62], ids=["petabyte", "most"])
def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path: Path, size: int) -> None:
    tar_of(tmp_path / "whole", [("rootfs/big", REG, {"data": b"x" * 512})])
    info = tarfile.TarInfo("rootfs/big")
    info.size = size
    data = (tmp_path / "whole").read_bytes()
    at = data.index(b"rootfs/big")
    (tmp_path / "tar").write_bytes(data[:at] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert_refused(tmp_path / "tar", tmp_path, rf"'rootfs/big' of {size:,} bytes does not fit: .* free", Unavailable)


def test_what_leaves_too_little_free_is_refused_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([(10_000_000, 100), *[(600_000, 100)] * 10, *[(500_000, 100)] * 10])
    monkeypatch.setattr(bounds.Bounds, "_free", lambda self: next(free))
    members: Members = [(f"rootfs/{number}", REG, {"data": b"x"}) for number in range(20)]
    assert_refused(tar_of(tmp_path / "tar", members), tmp_path, "of 1 bytes does not fit: 500,000", Unavailable)


def test_what_leaves_too_few_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([(10_000_000, 1000), *[(10_000_000, 1000 - made) for made in range(1000)]])
    monkeypatch.setattr(bounds.Bounds, "_free", lambda self: next(free))
    members: Members = [(f"rootfs/{number}", DIR, {}) for number in range(2000)]
    assert_refused(tar_of(tmp_path / "tar", members), tmp_path, "does not fit: 50 files more", Unavailable)


def test_too_many_entries_are_refused_also_if_they_have_none_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_ENTRIES", 100)
    every: list[Members] = [
        [(f"rootfs/{number}", REG, {}) for number in range(101)],
        [(f"ignored/{number}", REG, {}) for number in range(101)],
        [("rootfs/f", REG, {})] * 101,
        [("rootfs/" + "d/" * 101, DIR, {})],
    ]
    for members in every:
        source = tar_of(tmp_path / "tar", members)
        assert_refused(source, tmp_path, "it has more than 100 files and directories")
    directory = with_config(tmp_path / "directory")
    for number in range(101):
        (directory / "rootfs" / str(number)).touch()
    assert_refused(directory, tmp_path, "it has more than 100 files and directories")


def test_a_path_may_be_as_long_as_linux_takes_it_and_no_longer(deep: Path) -> None:
    members: Members = [("rootfs/" + "a/" * count, DIR, {}) for count in range(1, 2000)]
    target = unpack(tar_of(deep / "tar", members), deep / "target")
    assert (target / "rootfs" / ("a/" * 1999)).is_dir()
    assert (unpack(target, deep / "again") / "rootfs" / ("a/" * 1999)).is_dir()
    source = tar_of(deep / "tar", [("rootfs/" + "a/" * 3000, DIR, {})])
    assert_refused(source, deep, r"entry 'rootfs/a/a.* has a path of 6006 bytes; Linux takes 4095")
    nest(with_config(deep / "directory") / "rootfs", 3000)
    assert_refused(deep / "directory", deep, "has a path of 4096 bytes")


def test_a_name_may_be_as_long_as_linux_takes_it_and_no_longer(tmp_path: Path) -> None:
    target = unpack(tar_of(tmp_path / "tar", [("rootfs/" + "a" * 255, REG, {})]), tmp_path / "target")
    assert (target / "rootfs" / ("a" * 255)).is_file()
    source = tar_of(tmp_path / "tar", [("rootfs/" + "a" * 256, REG, {})])
    assert_refused(source, tmp_path, "entry 'rootfs/a.*' has a name of more than 255 bytes")


def test_names_that_are_too_long_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_MOST_NAMES", 1 << 20)
    members: Members = [(f"x/{'a/' * 2000}", REG, {}) for _ in range(300)]
    assert_refused(tar_of(tmp_path / "tar", members), tmp_path, "the paths of its entries take more than 1 MiB")


@pytest.mark.parametrize(
    "members",
    [
        # Two deep directories in turn, below what is kept open.
        [(f"rootfs/{number % 2}/{'a/' * 500}{number}", REG, {}) for number in range(40)],
        # A link whose target has much that leads nowhere.
        [
            ("rootfs/l", SYM, {"linkname": "d/../" * 700}),
            ("rootfs/d", DIR, {}),
            *[("rootfs/l/f", REG, {})] * 50,
        ],
    ],
    ids=["directories", "links"],
)
def test_ways_that_are_too_long_together_are_refused(
    tmp_path: Path, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "_MOST_STEPS", 60_000)
    assert_refused(tar_of(tmp_path / "tar", members), tmp_path, "the entries lie too deep, or behind too many links")


def test_a_chain_of_directories_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_MOST_STEPS", 20_000)
    members: Members = [("rootfs/" + "a/" * count, DIR, {}) for count in range(1, 300)]
    files: Members = [("rootfs/" + "a/" * 299 + str(number), REG, {}) for number in range(50)]
    unpack(tar_of(tmp_path / "tar", [*members, *files]), tmp_path / "target")


def test_links_may_not_make_a_deeper_directory_than_paths(deep: Path) -> None:
    members: Members = [
        ("rootfs/" + "a/" * 1500 + "b", DIR, {}),
        ("rootfs/l", SYM, {"linkname": "a/" * 1500 + "b"}),
        ("rootfs/l/" + "c/" * 1000, DIR, {}),
    ]
    assert_refused(tar_of(deep / "tar", members), deep, "lies too deep")


COMPRESS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress]


@pytest.mark.parametrize("compress", COMPRESS)
@pytest.mark.parametrize("name", ["rootfs/zeros", "ignored"])
def test_a_tar_that_unpacks_to_far_more_than_it_is_is_refused(
    tmp_path: Path, compress: Callable[[bytes], bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_ALWAYS", 1 << 20)
    monkeypatch.setattr(stream, "_MOST_RATIO", 10)
    plain = tar_of(tmp_path / "plain", [(name, REG, {"data": bytes(4 << 20)})])
    (tmp_path / "tar").write_bytes(compress(plain.read_bytes()))
    assert_refused(tmp_path / "tar", tmp_path, "it unpacks to more than 1 GiB and 10 times its size")
    assert (unpack(plain, tmp_path / "target") / "rootfs").is_dir()


def test_xz_that_asks_for_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MOST_MEMORY", 1 << 20)
    tar_of(tmp_path / "tar", [], "w:xz")
    with pytest.raises(InvalidArgument, match="neither a directory nor a valid tar: Memory usage limit"):
        unpack(tmp_path / "tar", tmp_path / "target")


def test_xz_in_several_streams_is_unpacked(tmp_path: Path) -> None:
    plain = tar_of(tmp_path / "plain", [("rootfs/f", REG, {"data": b"x" * 5000})]).read_bytes()
    parts = [lzma.compress(plain[:700]), bytes(8), lzma.compress(plain[700:]), bytes(4)]
    (tmp_path / "tar").write_bytes(b"".join(parts))
    assert (unpack(tmp_path / "tar", tmp_path / "target") / "rootfs" / "f").stat().st_size == 5000


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: long_header(tarfile.XHDTYPE, 2 << 20), "a header of more than 1024 KiB"),
        (lambda: long_header(tarfile.GNUTYPE_LONGNAME, 1 << 40), "a header of more than 1024 KiB"),
        (lambda: long_header(tarfile.XHDTYPE, 5000, b"1"), "a header with an endless number"),
        (lambda: long_header(tarfile.XHDTYPE, 512, b"8 a=bcd\n") * 3000, "(recursion|header of more)"),
        (lambda: b"".join(globals_header(number) for number in range(100)), "more than 64 global headers"),
        (lambda: negative(REG), "impossible size"),
        (lambda: negative(b"9"), "impossible size"),
        (lambda: b"no header " * 100, "after some entries comes what is not a header"),
    ],
    ids=["attributes", "name", "number", "chain", "globals", "negative", "backwards", "garbage"],
)
def test_headers_have_an_end(tmp_path: Path, make: Callable[[], bytes], says: str) -> None:
    plain = tar_of(tmp_path / "plain", [("rootfs/f", REG, {})]).read_bytes()
    body = plain.rstrip(b"\0")
    body += bytes(-len(body) % 512)
    (tmp_path / "tar").write_bytes(body + make() + bytes(1024))
    with pytest.raises(InvalidArgument, match=says):
        unpack(tmp_path / "tar", tmp_path / "out" / "target")
    assert os.listdir(tmp_path / "out") == []


def long_header(kind: bytes, size: int, fill: bytes = b"x") -> bytes:
    """Return a header in front of another, and its content as far as it is small."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    length = min(size, 3 << 20)
    return info.tobuf(tarfile.GNU_FORMAT) + (fill * length)[:length] + bytes(-length % 512)


def globals_header(number: int) -> bytes:
    """Return a header for all entries behind it, with one of those."""
    entry = tarfile.TarInfo("rootfs/f")
    entry.uid, entry.gid = os.getuid(), os.getgid()
    return tarfile.TarInfo.create_pax_global_header({f"k{number}": "v"}) + entry.tobuf(tarfile.PAX_FORMAT)


def negative(kind: bytes) -> bytes:
    """Return a header of an entry, perhaps of one that is ignored, that would lie in front of itself."""
    info = tarfile.TarInfo("g")
    info.type = kind
    info.size = -1024
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_terabyte_that_is_ignored_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("ignored")
    info.size = TERABYTE
    with (tmp_path / "tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.seek(TERABYTE, io.SEEK_CUR)
        file.write(tar_of(tmp_path / "rest", []).read_bytes())
    assert (unpack(tmp_path / "tar", tmp_path / "target") / "rootfs").is_dir()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source in (tmp_path / "fifo", Path("/dev/zero")):
        assert_refused(source, tmp_path, "it is neither a directory nor a file")


def test_hard_links_of_hard_links_are_one_file(tmp_path: Path) -> None:
    members: Members = [("rootfs/0", REG, {"data": b"x"})]
    members += [(f"rootfs/{number}", LNK, {"linkname": f"rootfs/{number - 1}"}) for number in range(1, 100)]
    target = unpack(tar_of(tmp_path / "tar", members), tmp_path / "target")
    assert (target / "rootfs" / "99").stat().st_nlink == 100
