"""Images and manifests that projects have released: nothing of them is built here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures import runner
from mesh_fixtures.artifacts import manifests, releases
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.charts import run_helm
from mesh_fixtures.artifacts.part_source import released_part
from mesh_fixtures.artifacts.releases import Addresses
from mesh_fixtures.charts import Charts
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.images import ImageSet, full_name
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

HELLOWORLD: Final = {
    version: f"istio/examples-helloworld-{version}:1.0" for version in ("v1", "v2")
}
"""Images of the guide's HelloWorld sample."""

SLEEP: Final = "curlimages/curl:8.16.0"
"""Image of the guide's Sleep sample."""

PILOT: Final = "pilot"
PROXY: Final = "proxyv2"
"""Names of Istio's images, below the hub."""

_DEADLINE: Final = 60.0


def version_of(istioctl: Path) -> str:
    """The release that istioctl belongs to.

    Raises:
        ArtifactError: it does not say which.
    """
    output = _ask(istioctl, "version", "--remote=false", "--output=json")
    try:
        return str(json.loads(output)["clientVersion"]["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            wanted="the release that istioctl belongs to",
            seen=output[:300] or "nothing",
            where=str(istioctl),
            remedy="put the istioctl of a release into PATH",
        ) from error


def istio_images(
    istioctl: Path, hub: str = "", tag: str = "", variant: str = ""
) -> tuple[str, ...]:
    """Full names of the images that istioctl installs: pilot, and the proxy of the same release.

    Args:
        hub: where it takes them from; empty for what it says itself, as the others.

    Raises:
        ArtifactError: it cannot say.
    """
    settings = {"hub": hub, "tag": tag, "values.global.variant": variant}
    return _with_proxies(_ask(istioctl, "manifest", "generate", *_set(settings)))


def chart_images(
    helm: Path, charts: Charts, hub: str = "", tag: str = "", variant: str = ""
) -> tuple[str, ...]:
    """Full names of the images that charts install, as `istio_images`.

    Raises:
        MachineError: helm cannot render them.
    """
    settings = {"global.hub": hub, "global.tag": tag, "global.variant": variant}
    chart = charts.reference("istiod")
    return _with_proxies(run_helm(helm, "template", "istiod", *chart, *_set(settings)))


def _set(settings: Mapping[str, str]) -> Iterator[str]:
    for key, value in settings.items():
        if value:
            yield from ("--set", f"{key}={value}")


def _with_proxies(rendered: str) -> tuple[str, ...]:
    images = _images_in(yaml.safe_load_all(rendered))
    pilots = [full_name(image) for image in images if f"/{PILOT}:" in image]
    proxies = [pilot.replace(f"/{PILOT}:", f"/{PROXY}:") for pilot in pilots]
    return tuple(dict.fromkeys([*pilots, *proxies]))


def images_of(
    images: ImageSet, metallb: Sequence[Mapping[str, Any]], istio: Sequence[str]
) -> tuple[str, ...]:
    """Every image that a lab's nodes will want.

    Args:
        istio: Istio's own.
    """
    found = [
        *istio,
        *_images_in(metallb),
        *images.helloworld.values(),
        images.sleep,
    ]
    return tuple(dict.fromkeys(found))


def metallb_manifest(progress: Progress, addresses: Addresses) -> Path:
    """MetalLB's manifest with its released images, fetched once.

    Raises:
        ArtifactError: it could not be fetched, or is not what it should be.
    """
    source = released_part("metallb", releases.metallb(), addresses)
    made = Cache(cache_root()).ensure((source, manifests.manifests(released=True)), progress)
    return made["manifests"].folder / manifests.METALLB_FILE


def metallb_images(progress: Progress, addresses: Addresses) -> tuple[str, ...]:
    """Full names of the images that it names.

    Raises:
        ArtifactError: as `metallb_manifest`.
    """
    documents = yaml.safe_load_all(metallb_manifest(progress, addresses).read_text())
    return tuple(dict.fromkeys(full_name(image) for image in _images_in(documents)))


def _images_in(documents: Any) -> Iterator[str]:
    for container in manifests.containers(manifest for manifest in documents if manifest):
        yield str(container["image"])


def _ask(istioctl: Path, *arguments: str) -> str:
    return runner.output_of(
        [istioctl, *arguments],
        error=ArtifactError,
        seconds=patient(_DEADLINE),
        wanted=f"istioctl {' '.join(arguments)} to succeed",
        remedy="put the istioctl of a release into PATH",
    )
