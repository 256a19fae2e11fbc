"""Archives of container images, as `docker save`, `podman save`, buildah and skopeo write them,
and their import into the nodes of a running lab, by the nodes' own containerd.

Sources: OCI image layout specification; Docker's image specification v1.2, "Combined Image JSON +
Filesystem Changeset Format"; for the names that images get, containerd's `ctr images import`.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mesh_fixtures import providers, runner
from mesh_fixtures.errors import ArtifactError, LabError
from mesh_fixtures.images import full_name
from mesh_fixtures.patience import patient
from mesh_fixtures.records import Record

_NAMES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""Annotations of an image in an OCI index, the one that says more first."""

_OCI_LAYOUT: Final = "oci-layout"
"""The file that makes an archive one in OCI's format, even with Docker's index beside OCI's."""

_GZIP: Final = b"\x1f\x8b"
_LARGEST_INDEX: Final = 2**20

_SECONDS: Final = 300.0
_CTR: Final = ("ctr", "--namespace=k8s.io", "images")
_IMPORT: Final = (*_CTR, "import", "--snapshotter=overlayfs", "-")
_MANAGED: Final = "io.cri-containerd.image=managed"
"""The label by which the kubelet's garbage collection counts an image (containerd's CRI plugin)."""


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


def load(record: Record, archive: ImageArchive) -> None:
    """Import an archive into every node; images of the same names are replaced.

    Raises:
        LabError: a node refused it, or there is no node.
        OSError: the archive cannot be unpacked.
    """
    nodes = [*providers.by_name(record.provider).node_commands(record)]
    if not nodes:
        raise LabError(
            wanted=f"nodes of {record.id}",
            seen="none that is running",
            where=f"provider {record.provider}",
            remedy=f"mesh-conformance down {record.scenario}",
        )
    with archive.plain() as content:
        for name, enter in nodes:
            _run(name, [*enter, *_IMPORT], content)
            for imported, image in archive.images.items():
                if imported != image:
                    _run(name, [*enter, *_CTR, "tag", "--force", imported, image])
                _run(name, [*enter, *_CTR, "label", image, _MANAGED])


def _run(node: str, command: Sequence[str], content: IO[bytes] | None = None) -> None:
    """Run a command with `content`, from its start, as standard input."""
    if content is not None:
        os.lseek(content.fileno(), 0, os.SEEK_SET)
    runner.output_of(
        command,
        error=LabError,
        seconds=patient(_SECONDS),
        stdin="" if content is None else content,
        merged=True,
        wanted="images to be imported",
        where=node,
        remedy="write the archive again: it may be cut off, or of another processor architecture",
    )
