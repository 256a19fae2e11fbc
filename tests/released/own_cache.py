"""A cache of artifacts for a command that is not to have all of the user's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mesh_fixtures.artifacts.cache import cache_root
from tests.kind_environment.terminal import say


@contextmanager
def own_cache(shared: Iterable[str]) -> Iterator[Path]:
    """A folder of caches, removed in the end unless labs stay that have something of it mounted.

    Args:
        shared: parts that it shares with the user's.

    Yields:
        What a command has as `XDG_CACHE_HOME`.
    """
    home = cache_root().parent
    folder = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
    own = folder / home.name / cache_root().name
    own.mkdir(parents=True)
    for part in shared:
        (own / part).symlink_to(cache_root() / part)
    try:
        yield folder
    finally:
        if _is_mounted(folder):
            say(f"{folder} stays, as nodes of a kept lab have it mounted")
        else:
            shutil.rmtree(folder)


def _is_mounted(folder: Path) -> bool:
    """Whether any process has a mount that is made of it."""
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):  # it has ended meanwhile
            if folder.name in mounts.read_text(errors="replace"):
                return True
    return False
