"""kind itself, for machines that have none."""

from __future__ import annotations

from pathlib import Path

from mesh_fixtures.artifacts import gobuild
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.progress import Progress


def is_built(root: Path | None = None) -> bool:
    """Whether the program kind of `versions.KIND` is kept, so that nothing has to be built.

    Args:
        root: as in `ensure_kind`.
    """
    return bool(Cache(root or cache_root()).find([gobuild.kind().part()]))


def ensure_kind(progress: Progress, root: Path | None = None) -> Path:
    """The program kind of `versions.KIND`, built if it is not there yet.

    Args:
        root: folder to keep parts in; the user's cache folder by default.

    Raises:
        ArtifactError: it could not be built.
    """
    part = gobuild.kind().part()
    return Cache(root or cache_root()).ensure([part], progress)[part.name].folder / "kind"
