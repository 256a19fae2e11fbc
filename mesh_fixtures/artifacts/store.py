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

from mesh_fixtures.artifacts import istio, pulling, versions
from mesh_fixtures.artifacts.folders import link
from mesh_fixtures.artifacts.images import ARCHIVE, FILES, NAMES, WITHOUT_ISTIO
from mesh_fixtures.artifacts.part_source import RUNTIME_ROOT
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


OF_PULLED: Final = "pulled-store"
"""The part with a store whose images of Istio were pulled."""


def store(
    version: str = versions.ISTIO,
    earlier: str = "",
    *,
    others: tuple[str, ...] = (),
    runtime: tuple[str, ...] = (),
) -> Part:
    """The part with the folder `containerd`, whose images of Istio were built.

    Args:
        version: of Istio.
        earlier: version whose images it has, too; empty for none.
        others: names of parts with further images.
        runtime: names of parts that are laid over a node's root.
    """
    of_versions = (version, earlier) if earlier else (version,)
    archives = tuple(istio.part_name("images", each) for each in of_versions)
    return _store(part_name(version, earlier), (*archives, *others), runtime)


def store_of_pulled(*, others: tuple[str, ...] = (), runtime: tuple[str, ...] = ()) -> Part:
    """The same with pulled images of Istio."""
    return _store(OF_PULLED, (WITHOUT_ISTIO, pulling.PART, *others), runtime)


def _store(name: str, archives: tuple[str, ...], runtime: tuple[str, ...]) -> Part:
    def build(work: Work) -> None:
        folders = [work.needs[archive] for archive in archives]
        above = [work.needs[part] / RUNTIME_ROOT for part in runtime]
        import_images(work, folders, work.into / "containerd", above)

    return Part(
        name=name,
        inputs=inputs(),
        build=build,
        needs=("debian", *runtime, *archives),
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


def import_images(
    work: Work, sources: Sequence[Path], folder: Path, above: Sequence[Path] = ()
) -> None:
    """Make a root folder of containerd with the images of archives, unpacked.

    Args:
        work: of a part that needs `debian`.
        sources: folders with `images.ARCHIVE` and the list of its names in `images.NAMES`.
        folder: the root folder; it must not be there.
        above: folders that are laid over a node's root.

    Raises:
        ArtifactError: they could not be imported.
    """
    folder.mkdir(mode=0o711)
    (work.scratch / "containerd.toml").write_text(_configuration())
    names = [name for source in sources for name in json.loads((source / NAMES).read_text())]
    archives = work.scratch / "archives"
    archives.mkdir()
    for number, source in enumerate(sources):
        link(source / ARCHIVE, archives / f"{number}-{ARCHIVE}")
    debian = work.needs["debian"]
    node = ":".join(map(str, (*above, debian / "node")))
    work.run(
        # When the first process of the process namespace ends, the kernel ends all others, and the
        # mounts go with the mount namespace.
        ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
         "--ipc", "sh", SCRIPT, node, debian / "base", work.scratch, folder,
         archives, *names],
        what="to import container images with the node's own containerd",
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
