"""Archives of one image with one program, in the formats that people have them in."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def docker_archive(path: Path, name: str, program: Path) -> Path:
    """As `docker save` of an engine without containerd's image store writes it."""
    layer = _layer(program)
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": layer,
        "config.json": json.dumps(_configuration(layer)).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    return _write(path, files)


def oci_archive(path: Path, name: str, program: Path) -> Path:
    """As `podman save --format oci-archive` and skopeo write it, with the name that was asked for.

    Source: OCI image format specification, "Image Layout" and "Image Manifest".
    """
    layer = _layer(program)
    configuration = json.dumps(_configuration(layer)).encode()
    kind = "application/vnd.oci.image"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _descriptor(f"{kind}.config.v1+json", configuration),
            "layers": [_descriptor(f"{kind}.layer.v1.tar", layer)],
        }
    ).encode()
    described = _descriptor(f"{kind}.manifest.v1+json", manifest)
    named = described | {"annotations": {"org.opencontainers.image.ref.name": name}}
    files = {
        "oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode(),
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [named]}).encode(),
    }
    blobs = {f"blobs/sha256/{_digest(each)}": each for each in (layer, configuration, manifest)}
    return _write(path, files | blobs)


def _layer(program: Path) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        files.add(program, "program")
    return layer.getvalue()


def _configuration(layer: bytes) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/program"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
    }


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    digest = f"sha256:{_digest(content)}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
