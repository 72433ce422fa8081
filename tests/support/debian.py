"""Debian packages, downloaded by apt's own client and unpacked into a folder: nothing is installed.

apt gets lists, state and cache of its own there, so the machine's stay as they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".tox" / "debian"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TARGET = "$(CREATED_BY) $(COMPONENT) $(LABEL) $(REPO_URI)"
_LIMIT = 600.0


def unpacked(package: str, suite: str | None = None) -> Path:
    """Return a directory with the files of a package: of this machine's own suites, or of another suite of Debian.

    It is kept for the next time. Raises ``RuntimeError`` of one line if it cannot be had.
    """
    place = CACHE / (suite or "own")
    tree = place / package
    try:
        with _one_at_a_time():
            if not tree.is_dir():
                _unpack(package, suite, place, tree)
    except OSError as error:
        raise RuntimeError(f"{package} of Debian cannot be unpacked: {error}") from error
    return tree


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for other test runs: apt-get does not wait for the lock of its lists."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(package: str, suite: str | None, place: Path, tree: Path) -> None:
    sources = _sources(place, suite) if suite else []
    _apt_get(place, sources, "update")
    new = place / f"{package}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    _apt_get(place, sources, "download", package, cwd=new)
    for file in list(new.glob("*.deb")):
        _run(["dpkg", "-x", str(file), str(new)], f"dpkg -x {file.name}")
        file.unlink()
    new.rename(tree)  # only now: what was interrupted is not there


def _sources(place: Path, suite: str) -> list[str]:
    """Name another suite of the mirror that this machine uses."""
    file = place / "debian.sources"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"Types: deb\nURIs: {_mirror()}\nSuites: {suite}\nComponents: main\nSigned-By: {_KEYRING}\n")
    # Without the last, an update that got nothing succeeds, and then the package "has no candidate".
    words = (f"Dir::Etc::SourceList={file}", "Dir::Etc::SourceParts=/nonexistent", "APT::Update::Error-Mode=any")
    return _options(*words)


def _mirror() -> str:
    """Return where this machine gets Debian's packages from."""
    place = CACHE / "own"
    _apt_get(place, [], "update")
    lines = _apt_get(place, [], "indextargets", "--format", _TARGET).splitlines()
    mirrors = [line.split()[-1] for line in lines if line.startswith("Packages main Debian ")]
    if not mirrors:
        raise RuntimeError("this machine knows no mirror of Debian: other versions cannot be had here")
    return mirrors[0]


def _apt_get(place: Path, sources: list[str], *arguments: str, cwd: Path | None = None) -> str:
    for directory in ("lists/partial", "cache/archives/partial"):
        (place / directory).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    own = _options(f"Dir::State={place}", f"Dir::State::status={place}/status", f"Dir::Cache={place}/cache")
    # Not as a user of apt's own: our folder may be one that it cannot enter.
    patient = _options("APT::Sandbox::User=root", "Acquire::Retries=3")
    what = " ".join(["apt-get", *arguments])
    return _run(["apt-get", "-qq", *sources, *own, *patient, *arguments], what, cwd)


def _options(*words: str) -> list[str]:
    return [option for word in words for option in ("-o", word)]


def _run(argv: list[str], what: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, text=True, timeout=_LIMIT, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{what} did not end within {_LIMIT:g} s") from None
    except OSError as error:
        raise RuntimeError(f"{what} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise RuntimeError(f"{what} failed: {' '.join(done.stderr.split())[-500:]}")
    return done.stdout
