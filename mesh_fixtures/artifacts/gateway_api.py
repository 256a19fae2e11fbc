"""The definitions of the Kubernetes Gateway API, of the version that Istio is built with here.

Source: Gateway API, Getting started (installing the standard channel).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import gobuild
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.progress import Progress

FILE: Final = "gateway-api.yaml"

_MODULE: Final = "sigs.k8s.io/gateway-api"
_CHANNEL: Final = "config/crd/standard"
_REQUIRED_BY: Final = "istio"


def part() -> Part:
    """The part with `gateway-api.yaml`, the manifests of the standard channel."""
    folder = gobuild.SOURCES / _REQUIRED_BY
    files = [folder / "go.mod", folder / "go.sum"]
    pinned = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    inputs = pinned | {"manifests": f"{_MODULE} {_CHANNEL}"}
    return Part("gateway-api", inputs, _build, lane="go", seconds=300.0)


def ensure(progress: Progress) -> Path:
    """The file with the manifests, made if it is not there yet.

    Raises:
        ArtifactError: it could not be made.
    """
    wanted = part()
    return Cache(cache_root()).ensure((wanted,), progress)[wanted.name].folder / FILE


def _build(work: Work) -> None:
    module = work.run(
        ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", _MODULE],
        what=f"to find the folder of the Go module {_MODULE}",
        remedy=gobuild.REMEDY,
        env=gobuild.ENVIRONMENT,
        cwd=gobuild.SOURCES / _REQUIRED_BY,
    )
    folder = Path(module.strip()) / _CHANNEL
    manifests = sorted(folder.glob("*.yaml"))
    if not manifests:
        raise ArtifactError(
            wanted="the manifests of the Gateway API", seen="none", where=str(folder)
        )
    (work.into / FILE).write_text("\n---\n".join(each.read_text() for each in manifests))
