"""Failures of real meshes, recorded as what differs from the same mesh when it was healthy.

Record one from a diagnostics bundle, or from the recording in it:

    python tests/unit/diagnosis_recordings.py BUNDLE.tar.gz NAME HEALTHY

NAME becomes `diagnosis_recordings/NAME.json`; HEALTHY names the recording that it differs from,
itself if it is one. Lists of equal length differ by their elements, under keys such as `[2]`.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from mesh_fixtures.diagnosis import Recording

FOLDER = Path(__file__).parent / "diagnosis_recordings"
HEALTHY = "healthy"
GONE = {"gone": True}
REPLACED = "replaced by"


def names() -> list[str]:
    """Every recorded failure."""
    return sorted(
        file.stem for file in FOLDER.glob("*.json") if not file.stem.startswith(f"{HEALTHY}-")
    )


def recorded(name: str) -> Recording:
    """The recording of that name."""
    return Recording.from_json(json.dumps(_content(name)))


def difference(base: Any, other: Any) -> Any:
    """What `patched` needs to make the other out of the base."""
    if isinstance(base, dict) and isinstance(other, dict):
        changed = {
            key: difference(base[key], other[key]) if key in base else other[key]
            for key in other
            if key not in base or base[key] != other[key]
        }
        return changed | {key: GONE for key in base if key not in other}
    if isinstance(base, list) and isinstance(other, list) and len(base) == len(other):
        pairs = enumerate(zip(base, other, strict=True))
        return {f"[{at}]": difference(*pair) for at, pair in pairs if pair[0] != pair[1]}
    return {REPLACED: other} if isinstance(other, dict) else other


def patched(base: Any, change: Any) -> Any:
    """The base with what differs."""
    if isinstance(change, dict) and change.keys() == {REPLACED}:
        return change[REPLACED]
    if isinstance(base, list) and isinstance(change, dict):
        return [
            patched(each, change[f"[{at}]"]) if f"[{at}]" in change else each
            for at, each in enumerate(base)
        ]
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    kept = {key: each for key, each in base.items() if change.get(key) != GONE}
    new = {key: each for key, each in change.items() if each != GONE}
    return kept | {key: patched(kept[key], new[key]) if key in kept else new[key] for key in new}


def _content(name: str) -> Any:
    read = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return patched(_content(read["differs from"]), read["by"]) if "differs from" in read else read


def _record(source: Path, name: str, healthy: str) -> None:
    content = json.loads(_recording_in(source))
    if name != healthy:
        content = {"differs from": healthy, "by": difference(_content(healthy), content)}
    text = json.dumps(content, indent=1, sort_keys=True)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _recording_in(source: Path) -> bytes:
    if source.suffix == ".json":
        return source.read_bytes()
    with tarfile.open(source) as archive:
        member = next(each for each in archive.getnames() if each.endswith("/recordings/1.json"))
        file = archive.extractfile(member)
        assert file is not None
        return file.read()


if __name__ == "__main__":
    _record(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
