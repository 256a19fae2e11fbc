"""Manifests of others, read from their Go modules and fitted to our images."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures.artifacts import versions
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import ArtifactError

METALLB_FILE: Final = "metallb.yaml"
METALLB_SOURCE: Final = "metallb-native.yaml"

Manifest = dict[str, Any]


def metallb_images() -> Mapping[str, str]:
    """MetalLB's images by container name."""
    return {
        name: f"{versions.IMAGE_HUB}/metallb-{name}:v{versions.METALLB}"
        for name in ("controller", "speaker")
    }


def manifests(*, released: bool = False) -> Part:
    """The part with `metallb.yaml`.

    Args:
        released: whether MetalLB's images are those of its manifest.
    """

    def build(work: Work) -> None:
        source = work.needs["metallb"] / METALLB_SOURCE
        documents = [each for each in yaml.safe_load_all(source.read_text()) if each]
        images = images_by_container(documents) if released else metallb_images()
        fitted = fit_metallb(documents, images, source)
        (work.into / METALLB_FILE).write_text(yaml.safe_dump_all(fitted, sort_keys=False))

    images = "those of the manifest" if released else str(metallb_images())
    return Part(
        name="manifests",
        inputs={"rewriting": inspect.getsource(fit_metallb), "images": images},
        build=build,
        needs=("metallb",),
    )


def images_by_container(manifests: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What manifests name themselves, by container name."""
    return {each["name"]: each["image"] for each in containers(manifests)}


def containers(manifests: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The containers of workloads."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "DaemonSet"):
            yield from manifest["spec"]["template"]["spec"]["containers"]


def fit_metallb(
    manifests: Iterable[Manifest | None], images: Mapping[str, str], source: Path
) -> list[Manifest]:
    """MetalLB's manifests with our images, one replica's worth of settings, and quick readiness.

    A lab has no use for the memberlist between speakers, whose secret would hold the speaker's
    start back until the controller has made it.

    Raises:
        ArtifactError: a container that should be there is not.
    """
    fitted = [manifest for manifest in manifests if manifest]
    pending = dict(images)
    for manifest in fitted:
        if manifest["kind"] not in ("Deployment", "DaemonSet"):
            continue
        pod = manifest["spec"]["template"]["spec"]
        for container in pod["containers"]:
            container["image"] = pending.pop(container["name"])
            container["imagePullPolicy"] = "IfNotPresent"
            container["env"] = [
                variable for variable in container["env"] if "_ML_" not in variable["name"]
            ]
            container["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 1}
            container["volumeMounts"] = [
                mount for mount in container["volumeMounts"] if mount["name"] != "memberlist"
            ]
            container["ports"] = [
                port for port in container["ports"] if "memberlist" not in port["name"]
            ]
        pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "memberlist"]
    if pending:
        raise ArtifactError(
            wanted=f"the containers {', '.join(sorted(pending))} in MetalLB's manifest",
            seen="none of that name",
            where=str(source),
            remedy="fit_metallb and versions.METALLB must change together",
        )
    return fitted
