"""The second machine's disk: its system with the project, its environment and built artifacts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import debian
from mesh_fixtures.artifacts.cache import Entry
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.errors import LabError
from tests.machine import system

GUEST: Final = Path(__file__).parent / "guest"
"""What the second machine runs."""

_SIZE: Final = "16G"
_UNIT: Final = "machine.service"
_SECONDS: Final = 300.0


def write(
    image: Path,
    scratch: Path,
    *,
    root: Path,
    artifacts: Sequence[Entry],
    folders: Mapping[str, Path],
) -> None:
    """Write the image of a file system, in which everything is where a user would have it.

    Args:
        scratch: an empty folder; emptied again.
        root: the system.
        artifacts: of the cache; they are in the second machine's cache.
        folders: what else is there, by its path on the second machine.

    Raises:
        LabError: a program failed.
    """
    upper, work, merged = (scratch / name for name in ("upper", "work", "root"))
    for folder in (upper, work, merged):
        folder.mkdir()
    _copy_project(upper / system.INSIDE.relative_to("/"))
    shutil.copytree(GUEST, upper / "machine")
    units = upper / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "multi-user.target.wants" / _UNIT).symlink_to(f"../{_UNIT}")
    shutil.copy2(GUEST / _UNIT, units)
    mounts = {upper / path.removeprefix("/"): folder for path, folder in folders.items()}
    for entry in artifacts:
        home = upper / system.CACHE / "artifacts" / entry.home.name
        home.mkdir(parents=True)
        shutil.copy2(entry.record, home)
        mounts[home / entry.key] = entry.folder
    for folder in mounts:
        folder.mkdir(parents=True)
    try:
        _write(image, f"lowerdir={root},upperdir={upper},workdir={work}", merged, upper, mounts)
    finally:
        for folder in (upper, work, merged):
            remove(folder)


def _write(
    image: Path, layers: str, merged: Path, upper: Path, mounts: Mapping[Path, Path]
) -> None:
    """Mounts are in a namespace of their own, which ends with the program that writes the image."""
    script = (
        "mount --make-rprivate /; image=$1; layers=$2; root=$3; shift 3; "
        'mount -t overlay overlay -o "$layers" "$root"; '
        'while [ "$#" -gt 0 ]; do mount --bind "$1" "$root/$2"; shift 2; done; '
        f'truncate --size={_SIZE} "$image"; '
        'exec mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$image"'
    )
    pairs = [
        text
        for target, source in mounts.items()
        for text in (str(source), str(target.relative_to(upper)))
    ]
    image.unlink(missing_ok=True)
    done = subprocess.run(
        ["unshare", "--mount", "--fork", "--kill-child", "sh", "-euc", script, "sh",
         str(image), layers, str(merged), *pairs],
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env={"PATH": debian.PATH},
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(
            wanted="an image of the second machine's disk",
            seen=done.stderr.strip()[-500:] or f"exit status {done.returncode}",
            where=str(image),
            remedy="mke2fs comes with Debian's package e2fsprogs",
        )


def _copy_project(target: Path) -> None:
    """Copy what belongs to the project, and not what was made in its folder."""
    listed = subprocess.run(
        ["git", "-C", str(system.PROJECT), "ls-files", "--cached", "--others", "-z",
         "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source = system.PROJECT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
