"""Names of images, by the rules that docker has for them."""

from __future__ import annotations

import pytest

from pluginexec import InvalidArgument
from pluginexec.images.reference import parse_reference

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "name", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("vieux/sshfs", "docker.io/vieux/sshfs:latest", "vieux/sshfs:latest"),
        ("a/b/c:d", "docker.io/a/b/c:d", "a/b/c:d"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("quay.io/x_y/z--w.v", "quay.io/x_y/z--w.v:latest", "quay.io/x_y/z--w.v:latest"),
        ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
        (f"alpine@{SHA}", f"docker.io/library/alpine@{SHA}", f"alpine@{SHA}"),
        (f"alpine:3@{SHA}", f"docker.io/library/alpine@{SHA}", f"alpine@{SHA}"),
        ("app:_x", "docker.io/library/app:_x", "app:_x"),
        ("app:" + "t" * 128, "docker.io/library/app:" + "t" * 128, "app:" + "t" * 128),
    ],
)
def test_a_name_is_completed_and_shortened_as_docker_does(text: str, name: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert (reference.name, reference.familiar) == (name, familiar)
    assert parse_reference(reference.name) == parse_reference(reference.familiar) == reference


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lowercase words"),
        ("Alpine", "it must be in lowercase"),
        ("quay.io/App", "it must be in lowercase"),
        ("a" * 64, "ID"),
        ("alpine:", "a tag has"),
        ("alpine:-x", "a tag has"),
        ("alpine:" + "t" * 129, "a tag has"),
        ("alpine@sha256:abc", "the digest"),
        ("alpine@", "the digest"),
        ("a//b", "lowercase words"),
        ("/a", "lowercase words"),
        ("a/", "lowercase words"),
        ("a___b", "lowercase words"),
        ("a..b", "lowercase words"),
        (" alpine", "lowercase words"),
        ("alpine\n", "lowercase words"),
        ("http://x/y", "no scheme"),
        ("x..y/app", "not a registry's name"),
        ("-x.y/app", "not a registry's name"),
        ("x.y:p/app", "not a registry's name"),
        ("b" * 245, "at most 255 characters"),
        ("ünder", "lowercase words"),
    ],
)
def test_what_docker_refuses_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        parse_reference(text)
