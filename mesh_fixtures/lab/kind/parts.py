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

from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab.kind.engine import Engine
from mesh_fixtures.lab.provider import Problem, Tools
from mesh_fixtures.progress import Progress

ImageChoice = Literal["auto", "built", "released"]

NODE_REPOSITORY: Final = "kindest/node"
"""Where kind's own node images are."""


@dataclass(frozen=True)
class Parts:
    """Everything that a lab needs before its clusters are made.

    Attributes:
        digest: over all of it.
        kind: the program.
        node_image: of every node; empty for the one that `kind` chooses itself.
        metallb: MetalLB's manifests.
        archives: image archives to load into every node.
        images_of_host: images that the mesh and the add-ons want, which nodes pull otherwise.
    """

    digest: str
    kind: Path
    tools: Tools
    node_image: str
    images: ImageSet
    metallb: Sequence[dict[str, Any]]
    archives: tuple[Path, ...] = ()
    images_of_host: tuple[str, ...] = ()

    def on(self, engine: Engine) -> Parts:
        """The same, with those images of the host only that the engine has."""
        held = tuple(image for image in self.images_of_host if engine.has_image(image))
        return replace(self, images_of_host=held)


def node_image(kubernetes: str) -> str:
    """The node image that `--mesh-kubernetes` means: a version of Kubernetes, or an image."""
    if not kubernetes or "/" in kubernetes or ":" in kubernetes:
        return kubernetes
    return f"{NODE_REPOSITORY}:v{kubernetes.removeprefix('v')}"


def image_source(choice: ImageChoice) -> Literal["built", "released"]:
    """What `auto` means: released images where somebody has installed istioctl."""
    if choice != "auto":
        return choice
    return "released" if shutil.which("istioctl") else "built"


def lacks(choice: ImageChoice) -> list[Problem]:
    """Programs that are missing here; those that are built on this machine do not count."""
    found = []
    if image_source(choice) == "released":
        found = [
            Problem(f"the program {name}", f"install {name}, or use --mesh-images built")
            for name in ("kubectl", "istioctl")
            if shutil.which(name) is None
        ]
    if shutil.which("kind") is None and shutil.which("go") is None:
        found.append(Problem("the program kind", "install kind, or Go to build it"))
    return found


def gather(choice: ImageChoice, kubernetes: str, progress: Progress) -> Parts:
    """Build or find the parts.

    Raises:
        ArtifactError: one could not be built or fetched.
        MachineError: one is not there.
    """
    if image_source(choice) == "built":
        return _built(kubernetes, progress)
    return _released(kubernetes, progress)


def _built(kubernetes: str, progress: Progress) -> Parts:
    from mesh_fixtures.artifacts.build import ensure_artifacts
    from mesh_fixtures.artifacts.images import ARCHIVE

    artifacts = ensure_artifacts(progress)
    programs = artifacts.binaries
    image = node_image(kubernetes)
    return Parts(
        digest=_digest(artifacts.digest, image),
        kind=_kind(progress),
        tools=Tools(kubectl=programs / "kubectl", istioctl=programs / "istioctl"),
        node_image=image,
        images=artifacts.images,
        metallb=_manifests(artifacts.metallb_manifest),
        archives=(artifacts.folder_of("images") / ARCHIVE,),
    )


def _released(kubernetes: str, progress: Progress) -> Parts:
    from mesh_fixtures.artifacts import released

    image = node_image(kubernetes)
    istioctl = _program("istioctl", "of the Istio release to verify")
    images = released.image_set(istioctl)
    metallb = _manifests(released.metallb_manifest(progress))
    return Parts(
        digest=_digest(images.istio_version, json.dumps(metallb, sort_keys=True), image),
        kind=_kind(progress),
        tools=Tools(kubectl=_program("kubectl", "for Kubernetes"), istioctl=istioctl),
        node_image=image,
        images=images,
        metallb=metallb,
        images_of_host=released.images_of(images, metallb, istioctl),
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
