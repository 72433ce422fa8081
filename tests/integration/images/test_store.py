"""Images as plugins. Real: containerd, snapshots, mounts and plugins; the archives are made by the tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor, InvalidArgument, NotFound, Remote
from pluginexec.images.store import Images
from pluginexec.linux.mounts import mount_points_below
from tests.support.harness import Buffer, wait_until
from tests.support.images import Archive, busybox_layer, layer, write_image

WHITEOUT = ".wh."


@pytest.fixture
def images(remote: Remote, root_dir: Path) -> Images:
    return Images(remote, root_dir)


@pytest.fixture
def run(executor: Executor, images: Images, root_dir: Path, new_id: Callable[[], str]) -> Callable[..., str]:
    """Run a command in an image to its end, and return its output."""

    def run(image: str, *args: str, **options: Any) -> str:
        id, output = new_id(), Buffer()
        executor.create(id, images.spec(image, args, id=id, **options), output, output)
        executor.wait(id)
        wait_until(lambda: output.closed, "the output")
        assert mount_points_below(root_dir) == []
        return bytes(output.data).decode()

    return run


def test_it_runs_as_its_configuration_says(run: Callable[..., str], images: Images, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "Env": ["A=1", "B=x=y"],
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["id; pwd; echo $A $B"],
        "WorkingDir": "/home/app",
        "User": "app",
    }
    (name,) = images.load(write_image(tmp_path / "a.tar", **config))
    assert name == "docker.io/library/demo:1"
    id = "uid=1000(app) gid=1001(app) groups=1001(app),1002(extra)"
    assert run("demo:1").splitlines() == [id, "/home/app", "1 x=y"]
    assert run("demo:1", "echo $A", env=["A=2"]) == "2\n"
    assert run("demo:1", "hi", entrypoint=["echo"]) == "hi\n"
    assert run("demo:1", "id -G", user="0") == "0 10\n"
    assert run("demo:1", "id -g", user="app:extra") == "1002\n"


def test_without_a_user_it_is_root_with_the_groups_of_root(run: Callable[..., str], tmp_path: Path) -> None:
    archive = write_image(tmp_path / "a.tar", Cmd=["id", "-G"])
    assert run(f"oci-archive:{archive}") == "0 10\n"


def test_each_plugin_has_a_fresh_root_and_nothing_of_it_is_left(
    run: Callable[..., str], tmp_path: Path, root_dir: Path
) -> None:
    archive = f"oci-archive:{write_image(tmp_path / 'a.tar')}"
    for _ in range(2):
        assert run(archive, "sh", "-c", "ls /tmp; touch /tmp/x /etc/passwd; rm /bin/ls") == ""
    assert [path.name for path in root_dir.glob("containers/*/*")] == ["exit.json"] * 2


def test_what_a_layer_removes_is_gone_and_what_it_replaces_is_replaced(run: Callable[..., str], tmp_path: Path) -> None:
    second = layer({"d/keep": "1", "d/gone": "1", "o/old": "1", "f": "first"})
    third = layer({f"d/{WHITEOUT}gone": "", f"o/{WHITEOUT}{WHITEOUT}.opq": "", "o/new": "1", "f": "second"})
    archive = write_image(tmp_path / "a.tar", "demo:2", second, third)
    assert run(f"oci-archive:{archive}", "sh", "-c", "ls d o; cat f").split() == ["d:", "keep", "o:", "new", "second"]


def test_127_layers_are_mounted(run: Callable[..., str], tmp_path: Path) -> None:
    layers = [layer({f"l{number}": str(number)}) for number in range(126)]
    archive = write_image(tmp_path / "a.tar", "many:1", *layers)
    assert run(f"oci-archive:{archive}", "sh", "-c", "ls -d /l* | cat; cat /l0 /l125").endswith("0125")


def test_a_create_that_fails_leaves_no_mount(run: Callable[..., str], tmp_path: Path, root_dir: Path) -> None:
    archive = write_image(tmp_path / "a.tar")
    with pytest.raises(Exception, match="nosuch"):
        run(f"oci-archive:{archive}", "nosuch")
    assert mount_points_below(root_dir) == []
    assert not list(root_dir.glob("containers/*"))


def test_one_that_ended_while_no_executor_was_there_is_unmounted_by_restore(
    new_executor: Callable[..., Executor], images: Images, root_dir: Path, id: str, tmp_path: Path
) -> None:
    archive = write_image(tmp_path / "a.tar")
    spec = images.spec(f"oci-archive:{archive}", ["sh", "-c", "cat /dev/zero >/dev/null"], id=id)
    first = new_executor()
    first.create(id, spec)
    first.close()
    assert mount_points_below(root_dir) != []
    second = new_executor()
    assert second.restore(id)
    second.stop(id, timeout=0)
    assert mount_points_below(root_dir) == []


def test_the_layers_stay_when_the_image_is_removed_under_a_running_plugin(
    executor: Executor, images: Images, remote: Remote, id: str, tmp_path: Path
) -> None:
    archive = write_image(tmp_path / "a.tar", "demo:3", layer({"file": "there"}))
    images.load(archive)
    output = Buffer()
    script = "echo ready; while [ ! -e /go ]; do sleep 0.05; done; cat /file"
    spec = images.spec("demo:3", ["sh", "-c", script], id=id)
    executor.create(id, spec, output)
    wait_until(lambda: output.data == b"ready\n", "the plugin")
    Images(remote, tmp_path / "other root").sweep([])
    images.remove("demo:3")
    Path(spec["root"]["path"], "go").touch()
    executor.wait(id)
    assert output.data == b"ready\nthere"
    images.sweep([])
    assert not [key for key in images._client.snapshots() if key.startswith(images._layers._prefix)]


def test_an_archive_is_loaded_once_as_long_as_it_stays_as_it_is(
    images: Images, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    archive = write_image(tmp_path / "a.tar")
    images.resolve(f"oci-archive:{archive}")
    imports = caplog.text.count("images import")
    images.resolve(f"oci-archive:{archive}")
    assert caplog.text.count("images import") == imports > 0
    write_image(archive, Cmd=["true"])
    os.utime(archive, ns=(1, 1))
    assert images.config(images.resolve(f"oci-archive:{archive}")).cmd == ("true",)
    assert caplog.text.count("images import") > imports


def test_an_archive_that_names_nothing_gets_the_name_of_its_file(images: Images, tmp_path: Path) -> None:
    (name,) = images.load(write_image(tmp_path / "My app.tar", None))
    assert name.startswith("localhost/my-app@sha256:")


def test_of_several_platforms_this_machines_is_taken_and_others_are_named(images: Images, tmp_path: Path) -> None:
    archive = Archive()
    here = archive.image([busybox_layer()], {"Cmd": ["here"]})
    there = archive.image([busybox_layer()], {"Cmd": ["there"]}, architecture="s390x")
    archive.index([there, here], "multi:1")
    images.load(archive.write(tmp_path / "a.tar"))
    assert images.config("multi:1").cmd == ("here",)
    with pytest.raises(NotFound, match="nothing for linux/mips") as caught:
        images.config("multi:1", platform="linux/mips")
    assert caught.value.hint
    assert "linux/s390x" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"\0" * 10240])
def test_what_is_no_archive_is_refused_in_one_line(images: Images, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"archive|image") as caught:
        images.load(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_image_is_not_found_and_a_bad_name_is_refused(images: Images) -> None:
    with pytest.raises(NotFound, match="no such image: 'nosuch:latest'"):
        images.find("nosuch")
    with pytest.raises(NotFound):
        images.resolve("nosuch", pull="never")
    with pytest.raises(InvalidArgument):
        images.find("No")


def test_a_name_can_be_given_and_taken_and_what_is_saved_can_be_loaded(images: Images, tmp_path: Path) -> None:
    images.load(write_image(tmp_path / "a.tar", Cmd=["true"]))
    images.tag("demo:1", "localhost/other:2")
    names = [image.name for image in images.list()]
    assert {"docker.io/library/demo:1", "localhost/other:2"} <= set(names)
    images.save(tmp_path / "saved.tar", ["localhost/other:2"])
    images.remove("localhost/other:2")
    with pytest.raises(NotFound):
        images.find("localhost/other:2")
    assert images.load(tmp_path / "saved.tar") == ["localhost/other:2"]
    assert images.config("localhost/other:2").cmd == ("true",)
    with pytest.raises(NotFound):
        images.save(tmp_path / "none.tar", ["nosuch"])
    assert sorted(path.name for path in tmp_path.glob("*.tar*")) == ["a.tar", "saved.tar"]
