"""Archives of container images, as `docker save`, `podman save`, buildah and skopeo write them.

Sources: OCI image layout specification; Docker's image specification v1.2, "Combined Image JSON +
Filesystem Changeset Format".
"""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mesh_fixtures.errors import ArtifactError

_NAMES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""Annotations of an image in an OCI index, the one that says more first."""

_GZIP: Final = b"\x1f\x8b"
_LARGEST_INDEX: Final = 2**20


@dataclass(frozen=True)
class ImageArchive:
    """An archive that has been looked into.

    Attributes:
        images: names that it gives to its images; an image without a name is not among them.
    """

    path: Path
    images: Sequence[str]

    @contextmanager
    def plain(self) -> Iterator[IO[bytes]]:
        """A file with its content, not compressed, that a program can be given.

        Raises:
            OSError: there is no room for it, or the archive is cut off.
        """
        with self.path.open("rb") as file:
            if file.read(len(_GZIP)) != _GZIP:
                yield file
                return
        with tempfile.TemporaryFile() as content, gzip.open(self.path, "rb") as file:
            shutil.copyfileobj(file, content)
            content.flush()
            yield content


def read_archive(path: Path) -> ImageArchive:
    """Look into an archive, plain or compressed by gzip.

    Raises:
        ArtifactError: it cannot be read, or holds no images.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            docker = _json(archive, "manifest.json")
            index = None if docker is not None else _json(archive, "index.json")
        if docker is not None:
            names = [name for image in docker for name in image["RepoTags"] or ()]
            return ImageArchive(path, names)
        if index is not None:
            return ImageArchive(path, [*filter(None, map(_name, index["manifests"]))])
    except (OSError, EOFError, tarfile.TarError) as error:
        raise _unusable(path, str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, f"an index of images that cannot be understood: {error!r}") from error
    raise _unusable(path, "neither manifest.json nor index.json in it")


def _name(image: dict[str, Any]) -> str:
    annotations = image.get("annotations") or {}
    return next((annotations[key] for key in _NAMES if annotations.get(key)), "")


def _json(archive: tarfile.TarFile, name: str) -> Any:
    for member in (name, f"./{name}"):
        try:
            file = archive.extractfile(member)
        except KeyError:
            continue
        if file is not None:
            return json.loads(file.read(_LARGEST_INDEX))
    return None


def _unusable(path: Path, seen: str) -> ArtifactError:
    return ArtifactError(
        wanted="an archive of images, in Docker's format or OCI's",
        seen=seen,
        where=str(path),
        remedy="write one by docker save, podman save, buildah push or skopeo copy",
    )
