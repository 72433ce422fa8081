"""Names of images, by docker's rules: ``alpine`` is ``docker.io/library/alpine:latest``.

The rules are those of github.com/distribution/reference, which docker, nerdctl and podman share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pluginexec.errors import InvalidArgument, shown

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_OFFICIAL = "library/"
_LEGACY_DOMAIN = "index.docker.io"
_LONGEST_NAME = 255

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}", re.ASCII)
_ID = re.compile(r"[a-f0-9]{64}", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """The name of an image: where it is, and which one of those there, by tag or digest."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The name without tag and digest, whole."""
        return f"{self.domain}/{self.path}"

    @property
    def name(self) -> str:
        """The name in full, as containerd stores it; one with a digest has no tag, as docker's."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    @property
    def familiar_repository(self) -> str:
        """The repository as people write it: ``alpine``, ``user/app``, ``registry.example/app``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        short = self.path.removeprefix(_OFFICIAL)
        return short if "/" not in short else self.path

    @property
    def familiar(self) -> str:
        """The name as people write it, with its tag or digest."""
        end = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.familiar_repository}{end}"


def parse_reference(text: str) -> Reference:
    """Return the image that ``text`` names; without tag and digest, the tag is ``latest``.

    Raises ``InvalidArgument``, in one line with what is wrong, for a name that docker refuses, too.
    """
    if _ID.fullmatch(text):
        raise _refused(text, "64 hex digits are an image's ID; give its name")
    if "://" in text:
        raise _refused(text, "a name has no scheme such as https://")
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _refused(text, "the digest must be sha256: and 64 hex digits")
    domain, path = _split_domain(name)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _refused(
            text, "a tag has up to 128 letters, digits, '_', '.' and '-', and begins with none of the last two"
        )
    if not _PATH.fullmatch(path):
        upper = path != path.lower() and _PATH.fullmatch(path.lower())
        raise _refused(
            text, "it must be in lowercase" if upper else "use lowercase words, separated by '/', '.', '_' or '-'"
        )
    if not _DOMAIN.fullmatch(domain):
        raise _refused(text, f"{shown(domain)} is not a registry's name")
    reference = Reference(domain, path, "" if digest else tag or DEFAULT_TAG, digest)
    if len(reference.repository) > _LONGEST_NAME:
        raise _refused(text, f"a name has at most {_LONGEST_NAME} characters")
    return reference


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # docker's rule: a first word without a dot or a port is a user of its own registry.
    if not slash or not (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{_OFFICIAL}{path}"
    return domain, path


def _refused(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{shown(text)} is not the name of an image: {why}")
