"""Makes an image of another one and a layer that takes files away, or adds some.

Source: OCI image layout; OCI image format specification, "Whiteouts".
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

NAME_KEYS: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


def with_layer(archive: Path, image: str, into: Path, name: str, layer: bytes) -> None:
    """Write an archive with one image: another one and a layer on top of it.

    Args:
        archive: an OCI archive, not compressed.
        image: name of the image in it.
        into: file to write.
        name: of the new image.
    """
    with tarfile.open(archive, "r:") as source, tarfile.open(into, "w") as target:
        index = json.loads(_content(source, "index.json"))
        (entry,) = [each for each in index["manifests"] if image in _names(each)]
        manifest = json.loads(_content(source, _blob(entry)))
        configuration = json.loads(_content(source, _blob(manifest["config"])))
        configuration["rootfs"]["diff_ids"].append(_digest(layer))
        configuration.get("history", []).clear()
        made = json.dumps(configuration).encode()
        for each in manifest["layers"]:
            member = source.getmember(_blob(each))
            target.addfile(member, source.extractfile(member))
        manifest["config"] = {**manifest["config"], **_described(made)}
        manifest["layers"].append({"mediaType": _LAYER, **_described(layer)})
        listed = json.dumps(manifest).encode()
        named = {**entry, **_described(listed), "annotations": dict.fromkeys(NAME_KEYS, name)}
        for content in (layer, made, listed):
            _add(target, _blob(_described(content)), content)
        _add(target, "index.json", json.dumps({**index, "manifests": [named]}).encode())
        _add(target, "oci-layout", _content(source, "oci-layout"))


def whiteouts(programs: Iterable[str]) -> bytes:
    """A layer that takes files away, by their paths within the image."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        for program in sorted(programs):
            folder, _, name = program.rpartition("/")
            files.addfile(tarfile.TarInfo(f"{folder}/.wh.{name}"))
    return layer.getvalue()


def programs_added(programs: Mapping[str, Path]) -> bytes:
    """A layer that adds programs, by their paths within the image."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        for path, program in sorted(programs.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = program.stat().st_size, 0o755
            with program.open("rb") as content:
                files.addfile(member, content)
    return layer.getvalue()


def _names(entry: Mapping[str, Any]) -> set[str]:
    annotations = entry.get("annotations") or {}
    return {annotations.get(key, "") for key in NAME_KEYS}


def _described(content: bytes) -> dict[str, Any]:
    return {"digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob(descriptor: Mapping[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
