"""Which versions run in a cluster."""

from __future__ import annotations

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import DEPLOYMENTS
from mesh_fixtures.probe.envoy import admin
from mesh_fixtures.probe.istiod import CONTAINER, SELECTOR


def kubernetes(kube: KubeClient) -> str:
    """Version of the API server.

    Raises:
        ProbeError: it did not answer. So for the others, where there is nothing to ask too.
    """
    return kube.version().removeprefix("v")


def istio(kube: KubeClient) -> str:
    """Version that istiod's program reports (Istio: `pilot-discovery version`)."""
    pod = kube.pod_of(kube.names.system_namespace, SELECTOR)
    argv = ("pilot-discovery", "version", "--short")
    result = kube.exec(pod.meta.namespace, pod.name, CONTAINER, argv)
    if result.exit_status != 0:
        raise ProbeError(
            wanted="istiod's version",
            seen=result.stderr.strip() or f"exit {result.exit_status}",
            where=f"{result.source.cluster} {result.source.subject}",
            remedy=f"by hand: {result.source.asked}",
        )
    return result.stdout.strip().removeprefix("client version: ")


def proxy(kube: KubeClient) -> str:
    """Version of Envoy in Sleep's pod (Envoy: Administration interface, `/server_info`)."""
    _, answer = admin(kube, kube.pod_of(kube.sample_namespace, "app=sleep"), "server_info")
    return envoy_version(str(answer["version"]))


def envoy_version(build: str) -> str:
    """The version in Envoy's build: commit, version, state of the source, type, TLS library."""
    parts = build.split("/")
    return parts[1] if len(parts) > 1 else build


def metallb(kube: KubeClient) -> str:
    """Version of MetalLB by its controller's image."""
    found = kube.get(DEPLOYMENTS, "metallb-system", "controller")
    images = [each.image for each in found.containers] if found is not None else []
    if not images:
        raise ProbeError(
            wanted="MetalLB's version", seen="no controller of MetalLB", where=kube.name
        )
    return images[0].partition("@")[0].rpartition(":")[2].removeprefix("v")
