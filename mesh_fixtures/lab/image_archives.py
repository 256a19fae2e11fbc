"""Archives of container images, as `docker save`, `podman save`, buildah and skopeo write them.

Sources: OCI image layout specification; Docker's image specification v1.2, "Combined Image JSON +
Filesystem Changeset Format"; for the names that images get, containerd's `ctr images import`.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.images import full_name

_NAMES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""Annotations of an image in an OCI index, the one that says more first."""

_OCI_LAYOUT: Final = "oci-layout"
"""The file that makes an archive one in OCI's format, even with Docker's index beside OCI's."""

_GZIP: Final = b"\x1f\x8b"
_LARGEST_INDEX: Final = 2**20


@dataclass(frozen=True)
class ImageArchive:
    """The index of an archive.

    Attributes:
        images: for each image, the name that containerd's import gives it, and the full name by
            which a pod's `image` finds it. Images without a name, which no pod can use, are absent.
    """

    path: Path
    images: Mapping[str, str]

    @contextmanager
    def plain(self) -> Iterator[IO[bytes]]:
        """A file with its content, decompressed, as a program's standard input.

        Raises:
            OSError: there is no space for it, or the archive is cut off.
        """
        if not _is_compressed(self.path):
            with self.path.open("rb") as file:
                yield file
            return
        with tempfile.TemporaryFile() as content, gzip.open(self.path, "rb") as file:
            shutil.copyfileobj(file, content)
            content.flush()
            yield content


def read_archive(path: Path) -> ImageArchive:
    """Read the index of an archive, plain or compressed by gzip.

    Raises:
        ArtifactError: it cannot be read, or holds no image with a name.
    """
    try:
        with tarfile.open(path, "r:gz" if _is_compressed(path) else "r:") as archive:
            is_oci = _json(archive, _OCI_LAYOUT) is not None
            index = _json(archive, "index.json" if is_oci else "manifest.json")
        if index is None:
            raise _unusable(path, "no index of images in it (index.json, manifest.json)")
        images = _images_of_oci(index) if is_oci else _images_of_docker(index)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise _unusable(path, str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, f"an invalid index of images: {error!r}") from error
    if not images:
        raise ArtifactError(
            wanted="a name and a tag for an image, such as example.com/image:1",
            seen="no image with both",
            where=str(path),
            remedy="tag the image before saving it, and save it by that name",
        )
    return ImageArchive(path, images)


def _images_of_docker(manifest: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    names = [full_name(name) for image in manifest for name in image["RepoTags"] or ()]
    return {name: name for name in names}


def _images_of_oci(index: Mapping[str, Any]) -> dict[str, str]:
    """OCI's reference may be a tag alone, which makes no name for an image."""
    names = map(_annotated_name, index["manifests"])
    return {name: full_name(name) for name in names if set("/:@") & set(name)}


def _annotated_name(image: Mapping[str, Any]) -> str:
    annotations = image.get("annotations") or {}
    return str(next((annotations[key] for key in _NAMES if annotations.get(key)), ""))


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


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
