"""What a kind lab is made of: programs, node image, images of the mesh and the sample."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from mesh_fixtures import supported
from mesh_fixtures.artifacts import helm_install, versions
from mesh_fixtures.artifacts import istioctl as istioctls
from mesh_fixtures.artifacts.helm_install import HelmInstall
from mesh_fixtures.contract import Earlier, Problem, Tools
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab.kind.engine import Engine
from mesh_fixtures.progress import Progress

ImageChoice = Literal["auto", "built", "released"]

NODE_REPOSITORY: Final = "kindest/node"
"""Where kind's own node images are."""


@dataclass(frozen=True)
class Wanted:
    """What somebody asks to run in kind clusters.

    Attributes:
        images: Istio's.
        kubernetes: a version, or a node image; kind's own choice when empty.
        istioctl: of the released images: a release's version, a file, or a URL; empty for the one
            in PATH.
        istio: version of the built images.
        charts: where Helm takes Istio's charts from, empty for those that belong to the images;
            None where istioctl installs.
        earlier: version of built images from which meshes are upgraded; empty for none.
    """

    images: ImageChoice = "auto"
    kubernetes: str = ""
    istioctl: str = ""
    charts: str | None = None
    istio: str = versions.ISTIO
    earlier: str = ""

    @property
    def source(self) -> Literal["built", "released"]:
        """What `auto` means: released images where there is, or somebody names, an istioctl."""
        return image_source(self.images, self.istioctl)


@dataclass(frozen=True)
class Parts:
    """Everything that a lab needs before its clusters are made.

    Attributes:
        digest: over all of it.
        kind: the program.
        node_image: of every node; empty for the one that `kind` chooses itself.
        metallb: MetalLB's manifests.
        helm: what Helm installs; None where istioctl does.
        archives: image archives to load into every node.
        images_of_host: images that the mesh and the add-ons want, which nodes pull otherwise.
        earlier: what meshes are installed with before they are upgraded; None without an upgrade.
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
    earlier: Earlier | None = None

    def on(self, engine: Engine) -> Parts:
        """The same, with those images of the host only that the engine has."""
        held = tuple(image for image in self.images_of_host if engine.has_image(image))
        return replace(self, images_of_host=held)


def node_image(kubernetes: str) -> str:
    """The node image that `--mesh-kubernetes` means: a version of Kubernetes, or an image."""
    if not kubernetes or "/" in kubernetes or ":" in kubernetes:
        return kubernetes
    return f"{NODE_REPOSITORY}:v{kubernetes.removeprefix('v')}"


def image_source(choice: ImageChoice, istioctl: str = "") -> Literal["built", "released"]:
    """What `auto` means: released images where there is, or somebody names, an istioctl."""
    if choice != "auto":
        return choice
    return "released" if istioctl or istioctls.in_path() else "built"


def missing_parts(wanted: Wanted) -> list[Problem]:
    """What is missing here or does not fit; what is built on this machine does not count."""
    found = []
    if wanted.source == "released":
        found = [*_missing("kubectl"), *istioctls.problems(wanted.istioctl)]
        found = found or _unsupported(wanted.istioctl)
        if wanted.charts == "":
            found.append(Problem("charts of the release", helm_install.NAME_CHARTS))
    found += helm_install.problems(wanted.charts, wanted.istio)
    if shutil.which("kind") is None and shutil.which("go") is None:
        found.append(Problem("the program kind", "install kind, or Go to build it"))
    return found


def _missing(name: str) -> list[Problem]:
    if shutil.which(name):
        return []
    return [Problem(f"the program {name}", f"install {name}, or use --mesh-images built")]


def _unsupported(istioctl: str) -> list[Problem]:
    """Whether an istioctl that is on this machine is of a release that cannot be installed."""
    from mesh_fixtures.artifacts import released

    if istioctls.version_in(istioctl) or istioctls.is_url(istioctl):
        return []
    version = released.image_set(istioctls.find(istioctl)).istio_version
    if version in supported.ISTIO:
        return []
    return [Problem(str(supported.ISTIO), "choose another by --mesh-istioctl", seen=version)]


def gather(wanted: Wanted, progress: Progress) -> Parts:
    """Build or find the parts.

    Raises:
        ArtifactError: one could not be built or fetched.
        MachineError: one is not there.
    """
    return _built(wanted, progress) if wanted.source == "built" else _released(wanted, progress)


def _built(wanted: Wanted, progress: Progress) -> Parts:
    from mesh_fixtures.artifacts.build import ensure_artifacts

    artifacts = ensure_artifacts(progress, istio_version=wanted.istio, earlier=wanted.earlier)
    programs = artifacts.binaries
    image = node_image(wanted.kubernetes)
    helm = _helm(wanted, artifacts.images, progress)
    digest = _digest(artifacts.digest, image)
    return Parts(
        digest=digest if helm is None else helm.digest_with(digest),
        kind=_kind(progress),
        tools=Tools(programs / "kubectl", programs / "istioctl", helm.program if helm else None),
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
    istioctl = istioctls.find(wanted.istioctl)
    images = released.image_set(istioctl)
    supported.ISTIO.require(images.istio_version, where=str(istioctl))
    helm = _helm(wanted, images, progress)
    pilots = released.istio_images(istioctl)
    if helm is not None:
        images = replace(images, istio_version=helm.charts.istio_version)
        pilots = released.chart_images(helm.program, helm.charts)
    metallb = _manifests(released.metallb_manifest(progress))
    digest = _digest(images.istio_version, json.dumps(metallb, sort_keys=True), image)
    return Parts(
        digest=digest if helm is None else helm.digest_with(digest),
        kind=_kind(progress),
        tools=Tools(
            _program("kubectl", "for Kubernetes"), istioctl, helm.program if helm else None
        ),
        node_image=image,
        images=images,
        metallb=metallb,
        helm=helm,
        images_of_host=released.images_of(images, metallb, pilots),
    )


def _helm(wanted: Wanted, images: ImageSet, progress: Progress) -> HelmInstall | None:
    if wanted.charts is None:
        return None
    return helm_install.gather(
        wanted.charts, images, progress, earlier=wanted.earlier, machines_own=True
    )


def _kind(progress: Progress) -> Path:
    from mesh_fixtures.artifacts.kind import ensure_kind

    found = shutil.which("kind")
    return Path(found) if found else ensure_kind(progress)


def _program(name: str, purpose: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise MachineError(
            wanted=f"the program {name} {purpose}",
            seen="none in PATH",
            where="released images",
            remedy=f"install {name}, or use --mesh-images built",
        )
    return Path(found)


def _manifests(file: Path) -> list[dict[str, Any]]:
    return [manifest for manifest in yaml.safe_load_all(file.read_text()) if manifest]


def _digest(*facts: str) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:20]
