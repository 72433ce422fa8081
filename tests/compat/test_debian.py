"""Packages of Debian, unpacked into a folder.

Real: the files. A script plays apt-get; ``python -m tests.compat`` runs the real one.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import debian
from tests.support.fakes import fake_command

MIRROR = 'case "$*" in *indextargets*) echo Packages main Debian http://mirror/debian; exit;; esac'
DOWNLOAD = f'{MIRROR}; case "$*" in *" download "*) touch x_1.deb;; esac'
CUT_SHORT = f'{MIRROR}; case "$*" in *" download "*) touch x_1.deb; echo E: cut >&2; exit 100;; esac'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, and no command but those that it makes, and the shell's."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(debian, "CACHE", cache)
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    fake_command(commands / "dpkg", "mkdir -p $3/usr/bin")
    return cache


def play_apt_get(cache: Path, script: str) -> Path:
    """Make an ``apt-get``; return the file that its arguments go to."""
    log = cache.parent / "apt-get.log"
    fake_command(cache.parent / "bin" / "apt-get", f'echo "$@" >>{log}; {script}')
    return log


def test_a_package_is_unpacked_once_and_then_kept(cache: Path) -> None:
    log = play_apt_get(cache, DOWNLOAD)
    tree = debian.unpacked("containerd", "sid")
    assert [path.relative_to(tree) for path in tree.rglob("*")] == [Path("usr"), Path("usr/bin")]
    commands = log.read_text()
    assert debian.unpacked("containerd", "sid") == tree
    assert log.read_text() == commands


def test_apt_touches_nothing_of_the_machines_own(cache: Path) -> None:
    log = play_apt_get(cache, DOWNLOAD)
    debian.unpacked("containerd", "sid")
    for command in log.read_text().splitlines():
        values = dict(word.split("=", 1) for word in command.split() if "=" in word)
        assert all(
            Path(values[key]).is_relative_to(cache) for key in ("Dir::State", "Dir::State::status", "Dir::Cache")
        )
        assert {"update", "download", "indextargets"} & set(command.split())


def test_a_suite_comes_from_the_machines_own_mirror_and_is_verified(cache: Path) -> None:
    play_apt_get(cache, DOWNLOAD)
    debian.unpacked("containerd", "sid")
    sources = (cache / "sid" / "debian.sources").read_text()
    assert "URIs: http://mirror/debian\nSuites: sid\n" in sources
    assert "Signed-By: /usr/share/keyrings/" in sources


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(f"{MIRROR}; printf 'E: no\\nE: network\\n' >&2; exit 100", "E: no E: network", id="no-network"),
        pytest.param(CUT_SHORT, "E: cut", id="half-way"),
        pytest.param("exit 0", "no mirror of Debian", id="no-mirror"),
        pytest.param(f"{DOWNLOAD}; exec sleep 1000", "did not end within", id="hangs"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_not_kept(
    cache: Path, script: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "_LIMIT", 0.5)
    play_apt_get(cache, script)
    with pytest.raises(RuntimeError, match=said) as caught:
        debian.unpacked("containerd", "sid")
    assert "\n" not in str(caught.value)
    assert not (cache / "sid" / "containerd").exists()


def test_a_machine_without_apt_is_told_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(RuntimeError, match="apt-get update cannot be run"):
        debian.unpacked("containerd", "sid")


def test_a_folder_that_cannot_be_made_is_told_in_one_line(cache: Path) -> None:
    cache.write_text("in the way")
    with pytest.raises(RuntimeError, match="cannot be unpacked"):
        debian.unpacked("containerd", "sid")


def test_two_that_want_a_package_at_once_fetch_it_once(cache: Path) -> None:
    log = play_apt_get(cache, f"mkdir {cache}/busy || exit 100; sleep 0.1; rmdir {cache}/busy; {DOWNLOAD}")
    with ThreadPoolExecutor(4) as pool:
        trees = list(pool.map(debian.unpacked, ["x"] * 4))
    assert set(trees) == {cache / "own" / "x"}
    assert sum(" download " in line for line in log.read_text().splitlines()) == 1
