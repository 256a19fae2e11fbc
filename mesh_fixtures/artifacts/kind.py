"""kind itself, for machines that have none."""

from __future__ import annotations

from pathlib import Path

from mesh_fixtures.artifacts import catalog, gobuild
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.part_source import BUILT, PartSource
from mesh_fixtures.progress import Progress


def is_built(root: Path | None = None) -> bool:
    """Whether the program kind of `versions.KIND` is kept, so that nothing has to be built.

    Args:
        root: as in `ensure_kind`.
    """
    return bool(Cache(root or cache_root()).find([gobuild.kind().part()]))


def ensure_kind(progress: Progress, root: Path | None = None, source: PartSource = BUILT) -> Path:
    """The program kind of `versions.KIND`, fetched or built if it is not there yet.

    Args:
        root: folder to keep parts in; the user's cache folder by default.

    Raises:
        ArtifactError: it could not be built.
    """
    selection = source.select([gobuild.kind()])
    parts = (*selection.go(), selection.part_of(gobuild.kind()))
    return Cache(root or cache_root()).ensure(parts, progress)["kind"].folder / "kind"


def ensure_kubectl(progress: Progress, source: PartSource) -> Path:
    """A released kubectl of `versions.KUBERNETES`, fetched if it is not there yet.

    Raises:
        ArtifactError: it could not be fetched.
    """
    part = catalog.kubectl(source.addresses)
    return Cache(cache_root()).ensure([part], progress)[part.name].folder / "kubectl"
