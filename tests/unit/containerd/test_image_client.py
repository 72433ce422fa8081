"""What ``ctr`` prints of images and snapshots. The texts are those of 1.6.20 and 2.1.9."""

from __future__ import annotations

import pytest

from pluginexec import Unknown
from pluginexec.containerd.image_client import parse_images, parse_loaded, parse_lower

DIGEST = "sha256:82f01ce69b829bf9e04517cd8d616e2737563f71bb2bf529cbae7b0d4f9270cb"
HEADER = "REF TYPE DIGEST SIZE PLATFORMS LABELS \n"


def test_images_are_parsed_with_the_blank_in_their_size() -> None:
    row = f"demo:1 application/vnd.oci.image.manifest.v1+json {DIGEST} 1.0 MiB linux/amd64,linux/arm64 - \n"
    (image,) = parse_images(HEADER + row)
    assert (image.name, image.digest, image.size) == ("demo:1", DIGEST, "1.0 MiB")
    assert image.platforms == ("linux/amd64", "linux/arm64")
    assert parse_images(HEADER) == []


@pytest.mark.parametrize("text", ["", "rubbish", HEADER + "demo:1 x\n"])
def test_what_is_no_list_never_passes_for_an_empty_one(text: str) -> None:
    with pytest.raises(Unknown):
        parse_images(text)


def test_the_names_of_what_was_unpacked_are_found() -> None:
    assert parse_loaded(f"unpacking a/b:1 ({DIGEST})...done\nunpacking c ({DIGEST})...done\n") == ["a/b:1", "c"]
    assert parse_loaded("") == []


def test_the_layers_of_an_overlay_are_found_and_another_mount_has_none() -> None:
    options = "index=off,workdir=/c/3/work,upperdir=/c/3/fs,lowerdir=/c/2/fs:/c/1/fs"
    assert parse_lower(f"mount -t overlay overlay / -o {options}\n") == ["/c/2/fs", "/c/1/fs"]
    assert parse_lower("mount -t bind /c/3/fs / -o rw,rbind\n") is None
