"""What a kind lab is made of: programs, node image, images of the mesh and the sample."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures.artifacts import catalog, gobuild, releases
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.definitions import digest_with
from mesh_fixtures.artifacts.helm import HelmInstall, gather_helm
from mesh_fixtures.artifacts.istio_source import IstioRelease, IstioSource
from mesh_fixtures.artifacts.part_source import BUILT, PartSource
from mesh_fixtures.contract import Earlier, Problem, Tools
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet, NodeImage
from mesh_fixtures.lab.kind.engine import Engine
from mesh_fixtures.options import BY_ISTIOCTL, InstallMethods
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

NODE_REPOSITORY: Final = "kindest/node"
"""Where kind's own node images are."""

PROCESSORS_OF_UPGRADE: Final = 3
"""Nodes of kind have as many as the machine. What Kubernetes, MetalLB, istiod, gateways and samples
request leaves no room for a second istiod on two."""

_NO_KUBECTL: Final = "install kubectl, or use --mesh-images built"


@dataclass(frozen=True)
class Wanted:
    """What somebody asks to run in kind clusters.

    Attributes:
        source: of Istio.
        kubernetes: a version, or a node image; kind's own choice when empty.
    """

    source: IstioSource
    kubernetes: str = ""


@dataclass(frozen=True)
class Parts:
    """Everything that a lab needs before its clusters are made.

    Attributes:
        digest: over all of it.
        kind: the program.
        node_image: of every node; empty for the one that `kind` chooses itself.
        metallb: MetalLB's manifests.
        helm: what Helm installs; None where it installs nothing.
        archives: image archives to load into every node.
        images_of_host: images that the mesh and the add-ons want, which nodes pull otherwise.
        release: what is installed where it was made elsewhere; None where it is built.
        earlier: what meshes are installed with before they are upgraded; None without an upgrade.
        methods: how meshes are installed.
        definitions: as `Lab.definitions`.
    """

    digest: str
    kind: Path
    tools: Tools
    node_image: str
    images: ImageSet
    metallb: Sequence[dict[str, Any]]
    helm: HelmInstall | None = None
    archives: tuple[Path, ...] = ()
    images_of_host: tuple[str, ...] = ()
    release: IstioRelease | None = None
    earlier: Earlier | None = None
    methods: InstallMethods = BY_ISTIOCTL
    definitions: Mapping[str, Path] = field(default_factory=dict)

    def on(self, engine: Engine) -> Parts:
        """The same, with those images of the host only that the engine has.

        Istio's own of a release are pulled, and its proxy's says what settings it needs.

        Raises:
            LabError: an image of Istio cannot be pulled.
        """
        if self.release is None:
            return self
        for image in self.release.all_names:
            if not engine.has_image(image):
                engine.pull(image)
        ids = [engine.image_id(image) for image in self.release.all_names]
        held = tuple(image for image in self.images_of_host if engine.has_image(image))
        fitted = self.release.fitted(engine.labels_of)
        return replace(
            self,
            digest=_digest(self.digest, *ids),
            images=fitted.images,
            images_of_host=held,
            earlier=fitted.installed_before,
        )


def node_image(kubernetes: str) -> str:
    """The node image that `--mesh-kubernetes` means: a version of Kubernetes, or an image."""
    if not kubernetes or "/" in kubernetes or ":" in kubernetes:
        return kubernetes
    return f"{NODE_REPOSITORY}:v{kubernetes.removeprefix('v')}"


def missing_parts(wanted: Wanted) -> list[Problem]:
    """What is missing here or does not fit; what is built on this machine does not count."""
    parts = wanted.source.parts
    found = []
    if wanted.source.is_released and not (
        shutil.which("kubectl") or parts.offers(catalog.KUBECTL, releases.kubectl())
    ):
        found.append(Problem("the program kubectl", _NO_KUBECTL))
    found += wanted.source.problems()
    processors = os.cpu_count() or PROCESSORS_OF_UPGRADE
    if wanted.source.earlier is not None and processors < PROCESSORS_OF_UPGRADE:
        missing = f"{PROCESSORS_OF_UPGRADE} processors, for the new istiod to start beside the old"
        found.append(
            Problem(missing, "use --mesh-provider netns, or a larger machine", str(processors))
        )
    if not (
        shutil.which("kind")
        or is_kind_built()
        or shutil.which("go")
        or parts.offers("kind", releases.kind())
    ):
        found.append(Problem("the program kind", "install kind, or Go to build it"))
    return found


def is_kind_built() -> bool:
    """Whether the program kind of `versions.KIND` is kept, so that nothing has to be built."""
    return bool(Cache(cache_root()).find([gobuild.kind().part()]))


def ensure_kind(progress: Progress, source: PartSource = BUILT) -> Path:
    """The program kind of `versions.KIND`, fetched or built if it is not there yet.

    Raises:
        ArtifactError: it could not be had.
    """
    selection = source.select([gobuild.kind()])
    parts = (*selection.go(), selection.part_of(gobuild.kind()))
    return Cache(cache_root()).ensure(parts, progress)["kind"].folder / "kind"


def images_of(wanted: Wanted) -> list[NodeImage]:
    """The images that nodes run, those of Kubernetes itself apart.

    Raises:
        ArtifactError: what names them could not be fetched.
        MachineError: there is no istioctl.
    """
    from mesh_fixtures.artifacts import images, released

    source, progress = wanted.source, Progress("images")
    if not source.is_released:
        return [NodeImage(name, "built on this machine") for name in images.names(source.version)]
    release = source.gather_release(progress, machines_own=True)
    metallb = _manifests(released.metallb_manifest(progress, source.parts.addresses))
    return [
        NodeImage(name, "what Docker or Podman holds, else pulled", pulled=True)
        for name in released.images_of(release.images, metallb, release.all_names)
    ]


def gather(wanted: Wanted, progress: Progress, scenario: Scenario | None = None) -> Parts:
    """Build or find the parts.

    Args:
        scenario: of the lab; None for what labs of any have in common.

    Raises:
        ArtifactError: one could not be built or fetched.
        MachineError: one is not there.
    """
    source = wanted.source
    found = _released(wanted, progress) if source.is_released else _built(wanted, progress)
    definitions = source.definitions(progress, scenario)
    return replace(
        found,
        digest=digest_with(found.digest, definitions.values()),
        methods=source.methods,
        definitions=definitions,
    )


def _built(wanted: Wanted, progress: Progress) -> Parts:
    from mesh_fixtures.artifacts.build import ensure_artifacts

    source = wanted.source
    artifacts = ensure_artifacts(
        progress,
        istio_version=source.version,
        earlier=source.earlier_version,
        source=source.parts,
        registries=source.registries,
    )
    programs = artifacts.binaries
    image = node_image(wanted.kubernetes)
    helm = None
    if source.charts is not None:
        ca = source.registries.ca
        helm = gather_helm(
            source.charts,
            artifacts.images,
            progress,
            ca,
            earlier=source.earlier_version,
            machines_own=True,
            parts=source.parts,
        )
    digest = _digest(artifacts.digest, image)
    return Parts(
        digest=digest if helm is None else helm.digest_with(digest),
        kind=_kind(progress, source.parts),
        tools=Tools(programs / "kubectl", artifacts.istioctl, helm.program if helm else None),
        node_image=image,
        images=artifacts.images,
        metallb=_manifests(artifacts.metallb_manifest),
        helm=helm,
        archives=artifacts.image_archives,
        earlier=artifacts.earlier_installed(helm.earlier if helm else None),
    )


def _released(wanted: Wanted, progress: Progress) -> Parts:
    from mesh_fixtures.artifacts import released

    image = node_image(wanted.kubernetes)
    parts = wanted.source.parts
    release = wanted.source.gather_release(progress, machines_own=True)
    images, helm = release.images, release.helm
    metallb = _manifests(released.metallb_manifest(progress, parts.addresses))
    before = release.installed_before
    described = [images] if before is None else [images, before.images]
    digest = _digest(
        *(json.dumps(asdict(each), sort_keys=True) for each in described),
        json.dumps(metallb, sort_keys=True),
        image,
    )
    return Parts(
        digest=digest if helm is None else helm.digest_with(digest),
        kind=_kind(progress, parts),
        tools=Tools(_kubectl(progress, parts), release.istioctl, helm.program if helm else None),
        node_image=image,
        images=images,
        metallb=metallb,
        helm=helm,
        images_of_host=released.images_of(images, metallb, release.all_names),
        release=release,
        earlier=before,
    )


def _kind(progress: Progress, source: PartSource) -> Path:
    found = shutil.which("kind")
    return Path(found) if found else ensure_kind(progress, source)


def _kubectl(progress: Progress, source: PartSource) -> Path:
    found = shutil.which("kubectl")
    if found:
        return Path(found)
    if not source.offers(catalog.KUBECTL, releases.kubectl()):
        raise MachineError(
            wanted="the program kubectl for Kubernetes",
            seen="none in PATH",
            where="released images",
            remedy=_NO_KUBECTL,
        )
    part = catalog.kubectl(source.addresses)
    return Cache(cache_root()).ensure([part], progress)[part.name].folder / "kubectl"


def _manifests(file: Path) -> list[dict[str, Any]]:
    return [manifest for manifest in yaml.safe_load_all(file.read_text()) if manifest]


def _digest(*facts: str) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:20]
