"""The program kind: its version, and that eviction knows it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from mesh_fixtures.artifacts import catalog, gobuild, versions
from mesh_fixtures.artifacts.cache import Entry, cache_root
from mesh_fixtures.artifacts.eviction import DAY, evict_stale, prune
from mesh_fixtures.artifacts.parts import keys_of
from mesh_fixtures.lab.kind.parts import ensure_kind
from mesh_fixtures.progress import Progress


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return cache_root()


def build(root: Path, key: str) -> Path:
    """Put a kind into the cache that nothing has used for a long time."""
    entry = Entry(root / "kind", key)
    entry.folder.mkdir(parents=True)
    (entry.folder / "kind").touch()
    entry.record.write_text('{"seconds": 1, "size": 1}')
    then = time.time() - 100 * DAY
    for path in (entry.folder, entry.record):
        os.utime(path, (then, then))
    return entry.folder


def current_key() -> str:
    return keys_of([gobuild.kind().part()])["kind"]


def test_go_module_requires_the_pinned_version() -> None:
    text = (gobuild.SOURCES / "kind/go.mod").read_text()
    version = re.search(r"sigs\.k8s\.io/kind v(\S+)", text)
    assert version is not None
    assert version[1] == versions.KIND


def test_kind_is_no_part_of_every_lab() -> None:
    assert "kind" not in keys_of(catalog.parts())


def test_kind_that_is_there_is_not_built_again(root: Path) -> None:
    folder = build(root, current_key())
    assert ensure_kind(Progress("test")) == folder / "kind"


def test_eviction_keeps_the_current_kind_and_removes_others(root: Path) -> None:
    current = build(root, current_key())
    for evict in (lambda: prune(), lambda: evict_stale(root, keys_of(catalog.parts()))):
        old = build(root, "0123")
        evict()
        assert not old.exists()
        assert (current / "kind").is_file()
