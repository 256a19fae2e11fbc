"""The root folder of containerd with all images imported and unpacked, for nodes to start from.

A node shares the content and the committed snapshots, and copies only the two small databases: so a
node has its images the moment that it boots.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import istio, versions
from mesh_fixtures.artifacts.images import ARCHIVE, FILES, NAMES
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import ArtifactError

SCRIPT: Final = FILES / "prepare-store.sh"

UNWANTED_PLUGINS: Final = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)

SNAPSHOTTER: Final = "io.containerd.snapshotter.v1.overlayfs"
CONTENT: Final = "io.containerd.content.v1.content"
DATABASES: Final = (
    "io.containerd.metadata.v1.bolt/meta.db",
    f"{SNAPSHOTTER}/metadata.db",
)
"""The files that a node must have to itself; all else may be shared."""


def store(version: str = versions.ISTIO, earlier: str = "") -> Part:
    """The part with the folder `containerd`.

    Args:
        version: of Istio.
        earlier: version whose images it has, too; empty for none.
    """
    of_versions = (version, earlier) if earlier else (version,)
    images = [istio.part_name("images", each) for each in of_versions]

    def build(work: Work) -> None:
        import_images(work, [work.needs[each] for each in images], work.into / "containerd")

    return Part(
        name=part_name(version, earlier),
        inputs=inputs(),
        build=build,
        needs=("debian", *images),
        seconds=600.0,
    )


def part_name(version: str, earlier: str = "") -> str:
    """Name of the part that `store` makes."""
    name = istio.part_name("store", version)
    return f"{name}-with-{istio.commit_of(earlier)}" if earlier else name


def inputs() -> dict[str, str]:
    """What decides how images are imported, as inputs of a part."""
    return {
        "script": hashlib.sha256(SCRIPT.read_bytes()).hexdigest(),
        "configuration": _configuration(),
    }


def _configuration() -> str:
    return (
        'version = 2\nroot = "/var/lib/containerd"\nstate = "/run/containerd"\n'
        f"disabled_plugins = {json.dumps(UNWANTED_PLUGINS)}\n"
        '[grpc]\n  address = "/run/containerd/containerd.sock"\n'
    )


def import_images(work: Work, archives: Sequence[Path], folder: Path) -> None:
    """Make a root folder of containerd with the images of archives, unpacked.

    Args:
        work: of a part that needs `debian`.
        archives: folders, each with `images.ARCHIVE` and the list of its names in `images.NAMES`.
        folder: the root folder; it must not be there.

    Raises:
        ArtifactError: they could not be imported.
    """
    folder.mkdir(mode=0o711)
    debian = work.needs["debian"]
    for number, images in enumerate(archives):
        scratch = work.scratch / f"import-{number}"
        scratch.mkdir()
        (scratch / "containerd.toml").write_text(_configuration())
        names = json.loads((images / NAMES).read_text())
        work.run(
            # When the first process of the process namespace ends, the kernel ends all others, and
            # the mounts go with the mount namespace.
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
             "--ipc", "sh", SCRIPT, debian / "node", debian / "base", scratch, folder,
             images, *names],
            what=f"to import {ARCHIVE} with the node's own containerd",
            remedy="overlay mounts and root are needed: see `mesh-conformance doctor`",
        )  # fmt: skip
    _check(folder)


def _check(folder: Path) -> None:
    missing = [name for name in DATABASES if not (folder / name).is_file()]
    snapshots = list((folder / SNAPSHOTTER / "snapshots").glob("*/fs"))
    if missing or not snapshots:
        raise ArtifactError(
            wanted="containerd's databases and unpacked snapshots",
            seen=f"missing: {', '.join(missing) or 'snapshots'}",
            where=str(folder),
        )
