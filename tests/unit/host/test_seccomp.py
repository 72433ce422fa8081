"""The default seccomp profile: asked for once, and kept.

A fake ``ctr`` and a fake runtime: the real ones, and the kernel, are in ``integration/cli/test_seccomp``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginexec.containerd.remote import Remote
from pluginexec.errors import PluginExecError
from pluginexec.host import seccomp
from pluginexec.host.seccomp import default_seccomp
from pluginexec.root.layout import Layout
from tests.support.fakes import fake_command

PROFILE = {"defaultAction": "SCMP_ACT_ERRNO"}
CTR = """
echo "$@" >>$here/asked
case "$*" in
*"containers info"*) echo '{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}';;
esac
"""
FEATURES = '[ "$1" = features ] && echo \'{"linux": {"seccomp": {"enabled": %s}}}\''
Ask = Callable[..., object]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask for the profile of a set of capabilities."""
    monkeypatch.setattr(seccomp, "has_seccomp", lambda: True)
    ctr, runtime = fake_command(tmp_path / "ctr", CTR), fake_command(tmp_path / "runc", FEATURES % "true")

    layout = Layout(tmp_path / "root", tmp_path / "state")

    def ask(*capabilities: str, ctr: str = ctr, runtime: str = runtime) -> object:
        return default_seccomp(Remote("/s", ctr=ctr, runtime=runtime), "/r", capabilities, layout)

    return ask


def asked(tmp_path: Path) -> int:
    """Return how many profiles ``ctr`` was asked for."""
    file = tmp_path / "asked"
    return file.read_text().count("--seccomp") if file.exists() else 0


def test_it_is_asked_for_once_for_each_set_of_capabilities_and_ctr(ask: Ask, tmp_path: Path) -> None:
    for _ in range(2):
        assert ask("CAP_CHOWN", "CAP_KILL") == ask("CAP_KILL", "CAP_CHOWN") == PROFILE
    assert asked(tmp_path) == 1
    ask("CAP_CHOWN")
    assert asked(tmp_path) == 2
    fake_command(tmp_path / "ctr", CTR + "\n# a new version\n")
    assert ask("CAP_CHOWN") == PROFILE
    assert asked(tmp_path) == 3
    lines = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[-1].startswith("profile-") for line in lines if "containers rm" in line] == [True] * 3


def test_ctr_is_asked_for_just_these_capabilities(ask: Ask, tmp_path: Path) -> None:
    ask("CAP_CHOWN", "CAP_BPF")
    line = next(line for line in (tmp_path / "asked").read_text().splitlines() if "--seccomp" in line).split()
    assert "--cap-add=CAP_BPF" in line
    assert "--cap-drop=CAP_KILL" in line
    assert not [word for word in line if "CHOWN" in word]
    assert line[line.index("--") + 1] == "/r"


def test_without_seccomp_in_kernel_or_runtime_there_is_none(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    without = fake_command(tmp_path / "without", FEATURES % "false")
    assert ask(runtime=without) is None
    assert ask(runtime=without) is None
    old = fake_command(tmp_path / "old", '[ "$1" = --version ] && echo "runc version 1.0.0"')
    assert ask(runtime=old) is None
    monkeypatch.setattr(seccomp, "has_seccomp", lambda: False)
    assert ask() is None
    assert asked(tmp_path) == 0
    assert sum("any system call" in record.getMessage() for record in caplog.records) == 4


@pytest.mark.parametrize("version", ["libseccomp: 2.5.4", "+SYSTEMD +SECCOMP +EBPF"])
def test_an_older_runtime_says_it_with_its_version(ask: Ask, tmp_path: Path, version: str) -> None:
    script = f'[ "$1" = --version ] && echo "{version}"'
    assert ask(runtime=fake_command(tmp_path / "old", script)) == PROFILE


def test_what_lies_in_the_place_of_a_kept_one_is_replaced(ask: Ask, tmp_path: Path) -> None:
    cache = tmp_path / "root" / "seccomp"
    ask()
    (file,) = cache.iterdir()
    good = file.read_bytes()
    bad = {**json.loads(good), "key": {"ctr": "another"}}
    for count, content in enumerate((b"", b"{", json.dumps(bad).encode(), b"[" * 100_000, good[:-2]), 2):
        file.write_bytes(content)
        assert ask() == PROFILE
        assert asked(tmp_path) == count
        assert file.read_bytes() == good


def test_a_link_in_the_place_of_a_kept_one_is_not_followed(ask: Ask, tmp_path: Path) -> None:
    ask()
    (file,) = (tmp_path / "root" / "seccomp").iterdir()
    elsewhere = tmp_path / "elsewhere"
    content = json.loads(file.read_bytes())
    elsewhere.write_text(json.dumps({**content, "profile": None}))
    file.unlink()
    file.symlink_to(elsewhere)
    assert ask() == PROFILE
    assert not file.is_symlink()
    assert json.loads(elsewhere.read_bytes())["profile"] is None


def test_the_newest_are_kept_in_a_directory_of_roots(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_MOST_FILES", 2)
    cache = tmp_path / "root" / "seccomp"
    for number, name in enumerate(("CAP_CHOWN", "CAP_KILL", "CAP_BPF")):
        ask(name)
        for path in cache.iterdir():
            os.utime(path, (number, number) if path.stat().st_mtime > 10 else None)
    assert len(list(cache.iterdir())) == 2
    assert cache.stat().st_mode & 0o777 == cache.parent.stat().st_mode & 0o777 == 0o700


def test_a_ctr_that_fails_or_gives_none_is_an_error_with_what_to_do(ask: Ask, tmp_path: Path) -> None:
    for script in ("exit 1", "case \"$*\" in *info*) echo '{}';; esac"):
        with pytest.raises(PluginExecError) as caught:
            ask(ctr=fake_command(tmp_path / "other", script))
        assert "--security-opt seccomp=unconfined" in (caught.value.hint or "")
    assert not list((tmp_path / "root").glob("*/*"))
