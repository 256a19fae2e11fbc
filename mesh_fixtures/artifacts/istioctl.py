"""The istioctl of a release: in PATH, in a file, or fetched once."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from pathlib import Path
from typing import Final

from mesh_fixtures import supported
from mesh_fixtures.artifacts import download, releases
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.command import Limits
from mesh_fixtures.artifacts.part_source import released_part
from mesh_fixtures.artifacts.releases import PUBLIC, Addresses
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import ArtifactError, MachineError
from mesh_fixtures.options import ISTIOCTL
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

PART: Final = "released-istioctl"
"""The part with the program of a version."""

_VERSION: Final = re.compile(r"v?(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?)")
_DEADLINE: Final = 300.0
_WANTED: Final = "the istioctl of a release"


def version_in(source: str) -> str:
    """The release that is asked for by its version; empty for a file or a URL."""
    version = _VERSION.fullmatch(source)
    return version[1] if version else ""


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def problems(source: str, option: str = ISTIOCTL.flag) -> list[Problem]:
    """Why there is no istioctl, as far as that is seen without fetching it.

    Args:
        source: a release's version, a file, or a URL; empty for the one in PATH.
        option: by which it is chosen.
    """
    version = version_in(source)
    if version and version not in supported.ISTIO:
        remedy = f"choose another release by {option}"
        return [Problem(str(supported.ISTIO), remedy, seen=version)]
    if version or is_url(source):
        return []
    found = shutil.which(source) if source else in_path()
    remedy = f"install the istioctl of a release, or name one by {option}"
    return [] if found else [Problem(f"the program {source or 'istioctl'}", remedy)]


def in_path() -> str | None:
    """The istioctl of a release in PATH; None without one.

    The one that this project builds is of no release. `mesh-conformance up` shows how to put it
    into PATH, which must not change what later commands run.
    """
    root = cache_root()
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    others = [folder for folder in folders if not Path(folder).is_relative_to(root)]
    return shutil.which("istioctl", path=os.pathsep.join(others))


def find(
    source: str,
    addresses: Addresses = PUBLIC,
    root: Path | None = None,
    option: str = ISTIOCTL.flag,
) -> Path:
    """The program, fetched if it is not there yet.

    Args:
        source: as for `problems`.
        addresses: where releases are.
        root: folder to keep it in; the user's cache folder by default.
        option: by which it is chosen.

    Raises:
        ArtifactError: it could not be fetched.
        MachineError: it is not there, or of a release that is not supported.
    """
    for problem in problems(source, option):
        raise MachineError(
            wanted=problem.missing, seen=problem.seen, where="istioctl", remedy=problem.remedy
        )
    version = version_in(source)
    if version:
        part = released_part(PART, releases.istioctl(version), addresses)
        made = Cache(root or cache_root()).ensure((part,), Progress("istioctl"))
        return made[PART].folder / "istioctl"
    if is_url(source):
        return _fetched(source, root or cache_root().parent / "released")
    return Path(str(shutil.which(source) if source else in_path()))


def _fetched(url: str, folder: Path) -> Path:
    file = folder / f"istioctl-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    if file.exists():
        return file
    limits = Limits(time.monotonic() + patient(_DEADLINE))
    try:
        with tempfile.TemporaryDirectory(prefix="mesh-istioctl-") as scratch:
            received = Path(scratch, "istioctl")
            download.fetch(url, received, what=_WANTED, limits=limits)
            content = _program_in(received.read_bytes())
        folder.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_bytes(content)
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise ArtifactError(
            wanted=_WANTED,
            seen=f"{type(error).__name__}: {error}",
            where=url,
            remedy="name an archive of a release, or a file by --mesh-istioctl",
        ) from error
    beside.chmod(0o755)
    beside.replace(file)
    return file


def _program_in(content: bytes) -> bytes:
    """The program, which may be in an archive: Istio's own, or that of istioctl alone."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = [name for name in archive.getnames() if name.rpartition("/")[2] == "istioctl"]
        member = archive.extractfile(names[0]) if names else None
        if member is None:
            raise ValueError("the archive holds no istioctl")
        return member.read()
