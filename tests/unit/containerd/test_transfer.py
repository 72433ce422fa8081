"""Commands that move images. Real: processes, with a shell script for ``ctr``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec import Remote, Unavailable
from pluginexec.containerd.transfer import transfer


def fake_ctr(directory: Path, script: str) -> Remote:
    path = directory / "ctr"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Remote(str(directory / "socket"), ctr=str(path))


def test_megabytes_of_progress_are_handed_on_and_not_kept(tmp_path: Path) -> None:
    remote = fake_ctr(tmp_path, "head -c 20000000 /dev/zero")
    sizes: list[int] = []
    ctr = remote.new_image_client("n").ctr
    transfer(ctr, "images", "pull", operation="pull", id="x", progress=lambda data: sizes.append(len(data)))
    assert sum(sizes) == 20_000_000
    transfer(ctr, "images", "pull", operation="pull", id="x")


def test_what_its_stderr_ends_with_is_raised(tmp_path: Path) -> None:
    text = 'failed to resolve reference "r/x:1": failed to do request: Head "https://r": dial tcp: no such host'
    remote = fake_ctr(tmp_path, f"head -c 200000 /dev/zero >&2; echo >&2; echo 'ctr: {text}' >&2; exit 1")
    with pytest.raises(Unavailable, match="no such host") as caught:
        transfer(remote.new_image_client("n").ctr, "images", "pull", operation="pull", id="x")
    assert (caught.value.operation, caught.value.id, caught.value.returncode) == ("pull", "x", 1)
