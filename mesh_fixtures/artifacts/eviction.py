"""Removes parts that nothing uses any more, and what killed builds left.

A part is used by the checkout whose sources give it its key, and by labs, whose nodes mount it. So
nothing is evicted while a lab exists, and what was used a short time ago stays.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from mesh_fixtures.artifacts import catalog, istioctl, pulling, store
from mesh_fixtures.artifacts.cache import cache_root, entries, remove_leftovers
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.artifacts.part_source import METALLB_IMAGES
from mesh_fixtures.artifacts.parts import keys_of

DAY: Final = 24 * 3600.0

PULLED: Final = (pulling.PART, store.OF_PULLED, istioctl.PART, METALLB_IMAGES)
"""Parts of which there may be several at a time that are wanted: one for each build of Istio, or
for each state of a registry."""

STALE: Final = 14 * DAY
"""Seconds without use after which a part that is not current is removed unasked."""

RECENT: Final = 3600.0
"""Seconds that `prune` leaves to a process that has its parts but no lab yet: as long as a build
may take."""


@dataclass(frozen=True)
class Pruned:
    """What `prune` did.

    Attributes:
        removed: parts by name and key, prepared control planes by name, and recordings.
        labs: the labs because of which nothing was removed.
    """

    removed: Sequence[str] = ()
    labs: Sequence[str] = ()


Current = Mapping[str, Collection[str]]
"""The keys of parts that stay, by the part's name."""


def evict(root: Path, current: Current, *, unused_for: float) -> list[str]:
    """Remove parts that are not current and were not used for that many seconds; `PULLED` ones
    only if they were not used for `STALE` seconds.

    Not to be called while a lab exists.

    Args:
        root: the cache's folder.
        current: what stays.

    Returns:
        Name and key of each that was removed.
    """
    removed = []
    for entry in entries(root):
        part = entry.home.name
        if entry.key in current.get(part, ()):
            continue
        used_before = time.time() - (max(unused_for, STALE) if part in PULLED else unused_for)
        with entry.locked_if_free() as held:
            if held and entry.discard(used_before=used_before):
                removed.append(f"{part} {entry.key}")
    return removed


def evict_stale(root: Path, used: Mapping[str, str]) -> list[str]:
    """`evict` what was not used for `STALE` seconds; nothing while a lab exists.

    Args:
        used: keys of parts that stay, by name.
    """
    return [] if _labs() else evict(root, _all_current(used), unused_for=STALE)


def prune() -> Pruned:
    """Remove all that can be built again and is not current, all prepared control planes, and all
    recordings of istioctl.

    Nothing is removed while a lab exists, and no part that was used within `RECENT` seconds.

    Raises:
        LabError: another process holds the lock of this machine's labs for too long.
    """
    from mesh_fixtures import records

    root = cache_root()
    remove_leftovers(root)
    with records.exclusive():
        labs = _labs()
        if labs:
            return Pruned(labs=labs)
        current = _all_current(keys_of(catalog.parts()))
        removed = evict(root, current, unused_for=RECENT)
        removed += _remove_control_planes(root.parent / "control-planes")
        return Pruned(removed=[*removed, *_remove_recordings(root.parent / "recordings")])


def _all_current(*others: Mapping[str, str]) -> Current:
    """Keys of the parts that only some labs need, built or released, and of others."""
    current: dict[str, set[str]] = {}
    for keys in (*others, keys_of(catalog.on_request()), keys_of(catalog.released())):
        for name, key in keys.items():
            current.setdefault(name, set()).add(key)
    return current


def _labs() -> list[str]:
    from mesh_fixtures import records

    return [record.id for record in records.load_all()]


def _remove_control_planes(folder: Path) -> list[str]:
    """Remove the etcd folders that labs start from, finished or not; they are made again."""
    removed: list[str] = []
    with contextlib.suppress(FileNotFoundError, Timeout), FileLock(folder / ".lock", timeout=0):
        for prepared in sorted(folder.iterdir()):
            if prepared.is_dir():
                # Under its own name, a folder that is half removed would be taken for a whole one.
                doomed = folder / f".new-removed-{prepared.name}"
                prepared.rename(doomed)
                remove(doomed)
                removed.append(f"control plane {prepared.name}")
    return removed


def _remove_recordings(folder: Path) -> list[str]:
    """Remove what istioctl was recorded to do; it is recorded again."""
    files = [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    for file in files:
        file.unlink(missing_ok=True)
    return [f"recordings: {len(files)}"] if files else []
