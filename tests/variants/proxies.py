"""Proxies, and what only looks like one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from mesh_fixtures import records
from mesh_fixtures.artifacts import build
from mesh_fixtures.artifacts.images import PAUSE
from mesh_fixtures.install import names
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.lab import image_archives
from tests.faults.target import Manifest, Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.images import whiteouts, with_layer
from tests.variants.reinstallation import proxied
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_ZTUNNEL: Final = "ztunnel"
_INJECTOR: Final = ("configmap", "istio-sidecar-injector")
_NO_SHELL: Final = "localhost/proxyv2-no-shell:1"
_PROGRAMS: Final = ("bash", "curl", "dash", "perl", "perl5.36.0", "python3", "python3.11", "sh")
"""What could run a command or send a request, in usr/bin of the image."""


@contextmanager
def ambient_beside_sidecars(target: Target) -> Iterator[None]:
    """Each cluster has a ztunnel, whose container is called as a sidecar's is, and no Envoy."""
    clusters = [each.name for each in target.scenario.clusters]
    try:
        for cluster in clusters:
            target.apply(cluster, _SYSTEM, _ztunnel(target.lab.images.pull_policy))
        for cluster in clusters:
            target.until(
                "a running ztunnel",
                cluster,
                lambda kube: [each for each in kube.list(PODS, _SYSTEM) if each.name == _ZTUNNEL],
                lambda pods: [each.serving for each in pods] == [True],
            )
        yield
    finally:
        for cluster in clusters:
            target.delete(cluster, _SYSTEM, f"pod/{_ZTUNNEL}")


def _ztunnel(pull_policy: str) -> Manifest:
    """Its form: ztunnel itself wants kernel parts and a node agent that the labs do not have."""
    labels = {
        "app": "ztunnel",
        "sidecar.istio.io/inject": "false",
        "istio.io/dataplane-mode": "none",
    }
    container = {"name": "istio-proxy", "image": PAUSE, "imagePullPolicy": pull_policy}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _ZTUNNEL, "labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


@contextmanager
def no_shell(target: Target) -> Iterator[None]:
    """The image of all proxies has neither a shell nor curl, as distroless ones."""
    load_proxy_with(target, _NO_SHELL, whiteouts(f"usr/bin/{each}" for each in _PROGRAMS))

    def proxies_started() -> None:
        for cluster in target.scenario.clusters:
            target.restart(cluster.name, *proxied(target, cluster.name))

    try:
        with injected_with(target, lambda injector: with_proxy_image(injector, _NO_SHELL)):
            proxies_started()
            yield
    finally:
        proxies_started()


@contextmanager
def injected_with(target: Target, change: Callable[[Manifest], Manifest]) -> Iterator[None]:
    """Every istiod injects with other settings than it was installed with.

    Args:
        change: of its ConfigMap.
    """
    clusters = [each.name for each in target.scenario.clusters]
    before = {cluster: target.read(cluster, _SYSTEM, *_INJECTOR) for cluster in clusters}

    def inject(with_: Callable[[Manifest], Manifest]) -> None:
        for cluster, injector in before.items():
            target.apply(cluster, _SYSTEM, with_(injector))
            target.restart(cluster, (_SYSTEM, "istiod"))

    try:
        inject(change)
        yield
    finally:
        inject(lambda injector: injector)


def on_request(injector: Manifest) -> Manifest:
    """What istiod injects with, only into pods that ask for it (Istio: global.proxy.autoInject)."""
    config = injector["data"]["config"]
    asked = config.replace("policy: enabled", "policy: disabled")
    assert asked != config, config[:200]
    return {**injector, "data": {**injector["data"], "config": asked}}


def load_proxy_with(target: Target, name: str, layer: bytes) -> None:
    """Give the nodes an image of the proxy's and another layer.

    Args:
        name: of the image.
    """
    images = target.lab.images
    proxy = f"{images.istio_hub}/proxyv2:{images.istio_tag}"
    (record,) = [each for each in records.load_all() if each.id == target.lab.id]
    with TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        built = build.ensure_artifacts(target.progress).image_archives[0]
        with_layer(built, proxy, archive, name, layer)
        image_archives.load(record, image_archives.read_archive(archive))


def with_proxy_image(injector: Manifest, image: str) -> Manifest:
    """What istiod injects with, by another image of the proxy (Istio: global.proxy.image)."""
    values = json.loads(injector["data"]["values"])
    values["global"]["proxy"]["image"] = image
    return {**injector, "data": {**injector["data"], "values": json.dumps(values)}}


VARIANTS: Final = (
    Variant(
        id="proxies-without-a-shell",
        mesh="The image of all proxies has no shell, no interpreter and no curl.",
        topology=TWO_NETWORKS,
        make=no_shell,
        provider="netns",
    ),
    Variant(
        id="proxies-on-request",
        mesh="Pods get a proxy only where they ask for it by a label, whatever their namespace's.",
        topology=TWO_NETWORKS,
        make=lambda target: injected_with(target, on_request),
    ),
    Variant(
        id="ambient-beside-sidecars",
        mesh="ztunnel runs in istio-system, in a container that is called istio-proxy.",
        topology=TWO_NETWORKS,
        make=ambient_beside_sidecars,
    ),
)
