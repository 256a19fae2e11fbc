"""Which versions run in a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.kube.resources import DEPLOYMENTS, PODS
from mesh_fixtures.probe.envoy import PROXY, admin
from mesh_fixtures.probe.istiod import CONTAINER, SELECTOR


def kubernetes(kube: KubeClient) -> str:
    """Version of the API server.

    Raises:
        ProbeError: it did not answer. So for the others, where there is nothing to ask too.
    """
    return kube.version().removeprefix("v")


def istio(kube: KubeClient) -> str:
    """Version that istiod's program reports."""
    pod = kube.pod_of(kube.names.system_namespace, SELECTOR)
    return _of_program(kube, pod, CONTAINER, "pilot-discovery")


@dataclass(frozen=True)
class IstioVersions:
    """The versions of Istio in a cluster, by pod: what its programs report.

    Attributes:
        istiods: all pods of istiod.
        proxies: pods of the sample workloads and of gateways that have a proxy.
    """

    cluster: str
    istiods: Mapping[str, str]
    proxies: Mapping[str, str]

    @property
    def all(self) -> frozenset[str]:
        return frozenset((*self.istiods.values(), *self.proxies.values()))

    def __str__(self) -> str:
        kinds = {"istiod": self.istiods, "proxies": self.proxies}
        found = [
            f"{kind} {', '.join(sorted(set(pods.values())))}"
            for kind, pods in kinds.items()
            if pods
        ]
        return "; ".join(found) or "nothing of Istio"


def istio_versions(kube: KubeClient) -> IstioVersions:
    """The versions of everything of Istio that runs in a cluster, but for what is going away.

    Raises:
        ProbeError: something did not answer.
    """
    pods = [
        pod
        for namespace in (kube.names.system_namespace, kube.sample_namespace)
        for pod in kube.list(PODS, namespace)
        if pod.phase == "Running" and not pod.terminating
    ]
    istiods = [pod for pod in pods if pod.container(CONTAINER) is not None]
    proxies = [pod for pod in pods if pod.container(PROXY) is not None]
    return IstioVersions(
        kube.name,
        {pod.name: _of_program(kube, pod, CONTAINER, "pilot-discovery") for pod in istiods},
        {pod.name: _of_program(kube, pod, PROXY, "pilot-agent") for pod in proxies},
    )


def _of_program(kube: KubeClient, pod: Pod, container: str, program: str) -> str:
    """Version that one of Istio's programs reports (Istio: `pilot-discovery version`)."""
    argv = (program, "version", "--short")
    result = kube.exec(pod.meta.namespace, pod.name, container, argv)
    if result.exit_status != 0:
        raise ProbeError(
            wanted=f"the version of {program}",
            seen=result.stderr.strip() or f"exit {result.exit_status}",
            where=f"{result.source.cluster} {result.source.subject}",
            remedy=f"by hand: {result.source.asked}",
        )
    return result.stdout.strip().removeprefix("client version: ")


def proxy(kube: KubeClient) -> str:
    """Version of Envoy in Sleep's pod (Envoy: Administration interface, `/server_info`)."""
    _, answer = admin(kube, kube.pod_of(kube.sample_namespace, "app=sleep"), "server_info")
    return envoy_version(str(answer["version"]))


def istiod_image(kube: KubeClient) -> str:
    """Image that istiod runs, with its digest."""
    return _digested(kube.pod_of(kube.names.system_namespace, SELECTOR), CONTAINER)


def proxy_image(kube: KubeClient) -> str:
    """Image that Sleep's proxy runs, with its digest."""
    return _digested(kube.pod_of(kube.sample_namespace, "app=sleep"), PROXY)


def _digested(pod: Pod, name: str) -> str:
    """A container's image: by the digest that its registry knows, else by the one of its
    configuration, which is all that a node knows of an image that was never pulled.
    """
    container = pod.container(name)
    if container is None or not container.image_id:
        return ""
    _, separator, pulled = container.image_id.rpartition("://")
    known = pulled if separator else container.image_id
    return known if "@" in known else f"{container.image} ({known})"


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
