"""The definitions of the Kubernetes Gateway API, of the version that Istio is built with here.

Source: Gateway API, Getting started (installing the standard channel).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import gobuild, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.part_source import ALL_BUILT, BUILT, PartSource, Selection
from mesh_fixtures.artifacts.parts import Built, Part, Work
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.progress import Progress

FILE: Final = "gateway-api.yaml"

RELEASE: Final = (
    "https://github.com/kubernetes-sigs/gateway-api/releases/download/"
    f"v{versions.GATEWAY_API}/standard-install.yaml"
)
"""The same manifests, as its project has released them."""

_PART: Final = "gateway-api"
_MODULE: Final = "sigs.k8s.io/gateway-api"
_CHANNEL: Final = "config/crd/standard"
_REQUIRED_BY: Final = "istio"


def part(selection: Selection = ALL_BUILT) -> Part:
    """The part with `gateway-api.yaml`, the manifests of the standard channel."""
    folder = gobuild.SOURCES / _REQUIRED_BY
    files = [folder / "go.mod", folder / "go.sum"]
    pinned = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    inputs = pinned | {"manifests": f"{_MODULE} {_CHANNEL}"}
    uses = tuple(each.name for each in selection.go())
    return Part(_PART, inputs, _build, lane="go", seconds=300.0, uses=uses)


def parts(source: PartSource = BUILT) -> tuple[Part, ...]:
    """That part, after the one that it is made by."""
    selection = source.select(())
    return (*selection.go(), part(selection))


def ensure(progress: Progress, source: PartSource = BUILT) -> Path:
    """The file with the manifests, made if it is not there yet.

    Raises:
        ArtifactError: it could not be made.
    """
    return ensure_parts(progress, source)[_PART].folder / FILE


def ensure_parts(progress: Progress, source: PartSource = BUILT) -> Mapping[str, Built]:
    """Make what is missing of `parts`.

    Raises:
        ArtifactError: it could not be made.
    """
    return Cache(cache_root()).ensure(parts(source), progress)


def digest_with(runs: str, manifests: Path | None) -> str:
    """Digest of all that runs in a lab, the definitions included.

    Args:
        runs: digest of the rest.
        manifests: what `ensure` returns; None where none are needed.
    """
    if manifests is None:
        return runs
    content = hashlib.sha256(manifests.read_bytes()).hexdigest()
    return hashlib.sha256(f"{runs} {content}".encode()).hexdigest()[:20]


def _build(work: Work) -> None:
    module = work.run(
        ["go", "mod", "download", "-json", _MODULE],
        what=f"to have the Go module {_MODULE}",
        remedy=gobuild.REMEDY,
        env=gobuild.environment_of(work),
        cwd=gobuild.SOURCES / _REQUIRED_BY,
    )
    folder = Path(json.loads(module)["Dir"]) / _CHANNEL
    manifests = sorted(folder.glob("*.yaml"))
    if not manifests:
        raise ArtifactError(
            wanted="the manifests of the Gateway API", seen="none", where=str(folder)
        )
    (work.into / FILE).write_text("\n---\n".join(each.read_text() for each in manifests))
