"""Images on the command line. Real: containerd, its images, and the plugins that run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Px
from tests.support.images import write_image


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_image(tmp_path / "a.tar", "demo:1", Cmd=["sh", "-c", "echo $A; cat /x"], Env=["A=of the image"])


@pytest.fixture
def loaded(px: Px, archive: Path) -> str:
    """The name of an image that is loaded."""
    assert px("load", "-i", archive).lines == ["Loaded image: docker.io/library/demo:1"]
    return "demo:1"


def test_an_image_runs_with_what_it_says_and_what_is_asked_for(px: Px, loaded: str) -> None:
    done = px("run", "--rm", "-e", "A=mine", loaded)
    assert (done.code, done.out) == (1, b"mine\n")
    assert px("run", "--rm", "-u", "app", loaded, "id", "-un").lines == ["app"]
    assert px("run", "--rm", "-u", "1000:extra", loaded, "id", "-g").lines == ["1002"]
    assert px("run", "--rm", "--entrypoint", "echo", loaded, "hi").lines == ["hi"]
    assert px("run", "--rm", "-w", "/etc", loaded, "pwd").lines == ["/etc"]


def test_an_archive_runs_without_being_loaded_before(px: Px, archive: Path) -> None:
    assert px("run", "--rm", f"oci-archive:{archive}", "echo", "hi").lines == ["hi"]


def test_a_start_after_a_stop_sees_what_was_written_and_rm_removes_it(
    px: Px, loaded: str, new_id: Callable[[], str], root_dir: Path
) -> None:
    id = new_id()
    assert px("run", "-d", "--name", id, loaded, "sh", "-c", "cat /x; echo x >>/x; exit 3").lines == [id]
    assert px("wait", id).lines == ["3"]
    px("start", id)
    assert px("wait", id).lines == ["3"]
    assert px("logs", id).lines[-1] == "x"
    assert px("ps", "-a", "--format", "{{.ID}} {{.Image}}", "-f", "ancestor=demo").lines == [f"{id} demo:1"]
    assert px("inspect", "-f", "{{.Image}} {{.ImageDigest}}", id).lines[0].startswith("demo:1 sha256:")
    assert px("rm", id).code == 0
    assert not list(root_dir.glob("plugins/*"))


def test_an_image_that_a_plugin_needs_is_kept(px: Px, loaded: str, new_id: Callable[[], str]) -> None:
    id = new_id()
    px("create", "--name", id, loaded)
    refused = px("rmi", loaded)
    assert (refused.code, refused.err.count(b"\n")) == (125, 1)
    assert id.encode() in refused.err
    px("rm", id)
    assert px("rmi", loaded).lines == ["Untagged: docker.io/library/demo:1"]
    assert px("images", "-q", "demo").lines == []


def test_images_are_listed_tagged_saved_and_loaded(px: Px, loaded: str, tmp_path: Path) -> None:
    px("tag", loaded, "localhost/other:2")
    listed = px("images", "--format", "{{.Repository}} {{.Tag}}", "localhost/other").lines
    assert listed == ["localhost/other 2"]
    assert px("save", "-o", tmp_path / "b.tar", "localhost/other:2").code == 0
    px("rmi", "localhost/other:2")
    assert px("load", "-q", "-i", tmp_path / "b.tar").lines == ["localhost/other:2"]
    px("rmi", "localhost/other:2")


def test_a_directory_of_that_name_is_not_pulled_by_mistake(px: Px, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    done = px("run", "bundle", cwd=tmp_path)
    assert done.code == 125
    assert b"type ./bundle" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--pull", "never", "nosuch"], b"no such image: 'nosuch:latest'"),
        (["run", "No"], b"must be in lowercase"),
        (["rmi", "nosuch"], b"no such image"),
        (["tag", "nosuch", "x"], b"no such image"),
        (["load", "-i", "/nonexistent"], b"'/nonexistent' cannot be read"),
        (["load", "-i", "/etc/passwd"], b"archive"),
        (["save", "-o", "/nonexistent/x", "nosuch"], b"no such image"),
        (["pull", "http://x/y"], b"no scheme"),
        (["run", "oci-archive:/nonexistent"], b"'/nonexistent' cannot be read"),
    ],
)
def test_bad_input_gets_one_line(px: Px, arguments: list[str], said: bytes) -> None:
    done = px(*arguments)
    assert (done.code, done.err.count(b"\n")) == (125, 1)
    assert said in done.err
