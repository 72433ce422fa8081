"""The images of one containerd: pulled, loaded, listed, removed, and made into the spec of a plugin."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pluginexec.containerd.image_client import ImageClient, StoredImage
from pluginexec.containerd.remote import Remote
from pluginexec.containerd.transfer import Progress
from pluginexec.errors import InvalidArgument, NotFound, shown
from pluginexec.images.archives import Archives, is_archive
from pluginexec.images.config import ImageConfig, Platform, parse_platform, read_config, this_platform
from pluginexec.images.layers import Layers, keep
from pluginexec.images.reference import parse_reference
from pluginexec.images.spec import image_spec, image_user
from pluginexec.linux.directories import names_in
from pluginexec.linux.files import file_error, read_bounded
from pluginexec.linux.overlay import look_into
from pluginexec.oci.spec import check_spec
from pluginexec.root.image_rootfs import DIGEST, IMAGE, ImageRootfs
from pluginexec.root.layout import Layout, absolute
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.types import PLUGIN_NAMESPACE
from pluginexec.validation import check_id

log = logging.getLogger(__name__)

PULL_POLICIES = ("missing", "always", "never")


class Images:
    """The images in a namespace of containerd, for the plugins of an executor whose root directory is ``directory``.

    What is known of images by digest is kept below it.

    Every method raises the error tree. Not safe for use by several threads at once; several processes may share a
    directory.
    """

    def __init__(self, remote: Remote, directory: str | os.PathLike[str], *, namespace: str = PLUGIN_NAMESPACE) -> None:
        self._client: ImageClient = remote.new_image_client(namespace)
        self._root = absolute(directory)
        self._directory = Layout(self._root, self._root).images
        self._layers = Layers(self._client, self._directory / "layers", self._root)
        self._archives = Archives(self._client, self._directory / "archives")

    def pull(
        self, name: str, *, platform: str | None = None, plain_http: bool = False, progress: Progress = None
    ) -> str:
        """Pull an image from its registry, and return its name in full.

        ``progress`` is called with what ``ctr`` draws for a terminal meanwhile, a line for each layer.

        ``platform`` is ``os/arch[/variant]``; by default that of this machine. ``plain_http``: speak HTTP to a
        registry that is not on this machine. Raises ``NotFound`` where the registry has no such image.
        """
        reference = parse_reference(name)
        flags = ["--platform", str(parse_platform(platform))] if platform else []
        self._client.pull(reference.name, [*flags, *(["--plain-http"] if plain_http else [])], progress)
        log.info("pulled %s", reference.familiar)
        return reference.name

    def load(self, archive: str | os.PathLike[str]) -> list[str]:
        """Load an archive of docker's or OCI's layout; return the names of the images in it, in full."""
        return self._archives.load(Path(os.path.abspath(archive)))

    def save(self, archive: str | os.PathLike[str], names: Sequence[str]) -> None:
        """Write images into an archive that docker and ``load`` read; whole or not at all."""
        path = Path(os.path.abspath(archive))
        stored = [self.find(name).name for name in names]
        new = path.with_name(f"{path.name}.new-{os.getpid()}")
        try:
            self._client.save(new, stored)
            new.replace(path)
        except OSError as error:
            raise file_error(error, f"archive {str(path)!r} cannot be written") from error
        finally:
            with contextlib.suppress(OSError):
                new.unlink()

    def list(self) -> list[StoredImage]:
        """Return the images, sorted by name."""
        return sorted(self._client.images(), key=lambda image: image.name)

    def find(self, name: str) -> StoredImage:
        """Return a stored image; ``NotFound``."""
        reference = parse_reference(name)
        images = self._client.images(reference.name)
        if not images:
            raise NotFound(f"no such image: {reference.familiar!r}", hint="pull it, or load it from an archive")
        return images[0]

    def tag(self, name: str, new: str) -> None:
        """Give an image another name; one that has that name loses it."""
        reference = parse_reference(new)
        if reference.digest:
            raise InvalidArgument(f"{shown(new)} has a digest: a tag cannot give one")
        self._client.tag(self.find(name).name, reference.name)

    def remove(self, name: str) -> None:
        """Remove a name of an image; with its last name go the layers that no other image and no plugin needs.

        ``NotFound``. Layers that a plugin of this root's executors uses stay.
        """
        self.untag(self.find(name).name)
        self.sweep(digests_of(Layout(self._root, self._root).containers).values())

    def untag(self, name: str) -> None:
        """Remove a full name; the layers stay until ``sweep``."""
        self._client.remove(name)

    def sweep(self, in_use: Collection[str]) -> None:
        """Release the layers that no image has, but for those of the digests ``in_use``: of images that plugins run."""
        self._layers.release({*(image.digest for image in self._client.images()), *in_use})

    def config(self, image: str | StoredImage, *, platform: str | None = None) -> ImageConfig:
        """Return the configuration of a stored image."""
        wanted = parse_platform(platform) if platform else this_platform()
        stored = self.find(image) if isinstance(image, str) else image
        return self._config(stored.digest, wanted, _familiar(stored.name))

    def resolve(
        self, name: str, *, pull: str = "missing", platform: str | None = None, progress: Progress = None
    ) -> StoredImage:
        """Return the image that ``run`` is to use: stored, pulled, or loaded from ``oci-archive:FILE``.

        ``pull`` is ``missing``, ``always`` or ``never``.
        """
        if is_archive(name):
            return self._archives.image(Path(os.path.abspath(name.partition(":")[2])))
        if pull not in PULL_POLICIES:
            raise InvalidArgument(f"pull policy {shown(pull)} is not one of {', '.join(PULL_POLICIES)}")
        if pull != "always":
            try:
                return self.find(name)
            except NotFound:
                if pull == "never":
                    raise
        log.info("pulling %s", parse_reference(name).familiar)
        return self.find(self.pull(name, platform=platform, progress=progress))

    def spec(
        self,
        image: str | StoredImage,
        args: Sequence[str] = (),
        *,
        id: str,
        root: str | os.PathLike[str] | None = None,
        changes: str | os.PathLike[str] | None = None,
        env: Sequence[str] = (),
        entrypoint: Sequence[str] | None = None,
        user: str | None = None,
        platform: str | None = None,
        seccomp: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the spec of a plugin that runs an image, for ``Executor.create``; one that is missing is pulled.

        The executor mounts an overlay of the image's layers below its ``containers/ID``, and removes it at the end of
        the plugin, with all that was changed in it; ``changes`` names a directory of the caller's for the changes, and
        ``root`` the executor's root directory if that is not the one of this object. ``args`` take the place of the
        image's ``Cmd``; ``env`` holds ``KEY=VALUE``.
        """
        stored = self.resolve(image, platform=platform) if isinstance(image, str) else image
        wanted = parse_platform(platform) if platform else this_platform()
        name = _familiar(stored.name)
        config = self._config(stored.digest, wanted, name)
        path = self._root if root is None else absolute(root)
        files = PluginFiles(Layout(path, path).containers / check_id(id))
        rootfs = ImageRootfs(self._layers.lower(config, stored.digest), str(changes or files.changes))
        target = str(files.rootfs)
        spec = image_spec(config, target, args, id=id, name=name, env=env, entrypoint=entrypoint, seccomp=seccomp)
        spec["process"]["user"] = self._user(rootfs.lower, config.user if user is None else user)
        spec["annotations"] = {IMAGE: name, DIGEST: stored.digest, **rootfs.annotations()}
        return check_spec(spec, "spec", Path())

    def _user(self, lower: Sequence[str], user: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="pluginexec-") as target:
            return look_into(lower, target, lambda root: image_user(root, user))

    def _config(self, digest: str, wanted: Platform, name: str) -> ImageConfig:
        blobs = self._directory / "blobs"

        def get(digest: str) -> bytes:
            # By digest, what was read once is true for ever.
            path = blobs / digest.replace(":", "-")
            with contextlib.suppress(OSError):
                data = read_bounded(path)
                algorithm, _, value = digest.partition(":")
                if hashlib.new(algorithm, data).hexdigest() == value:
                    return data
            data = self._client.content(digest)
            keep(path, data.decode(errors="surrogateescape"))
            return data

        return read_config(digest, wanted, get, name)


def digests_of(containers: Path) -> dict[str, str]:
    """Return the digest of the image of each plugin of executors; ``containers`` has their files."""
    digests = {}
    for id in names_in(containers):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            spec = json.loads(read_bounded(PluginFiles(containers / id).config))
            digests[id] = str(spec["annotations"][DIGEST])
    return digests


def _familiar(name: str) -> str:
    try:
        return parse_reference(name).familiar
    except InvalidArgument:  # one that another program has named
        return name
