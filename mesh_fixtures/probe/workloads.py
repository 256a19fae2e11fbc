"""The sample workloads with their proxies, and where those proxies find istiod.

Source: Istio, Installing the Sidecar; the injected container's arguments and variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import yaml

from mesh_fixtures.addresses import split_port
from mesh_fixtures.contract import SYSTEM_NAMESPACE, MeshNames
from mesh_fixtures.errors import NotPermitted
from mesh_fixtures.install.names import DNS_CAPTURE, NETWORK_VIEW
from mesh_fixtures.kube import Deployment, KubeClient, Pod, Source
from mesh_fixtures.kube.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES
from mesh_fixtures.probe.envoy import PROXY, configuration
from mesh_fixtures.probe.istiod import SELECTOR as ISTIOD
from mesh_fixtures.probe.istiod import istiods
from mesh_fixtures.probe.shards import SERVICE_LABEL
from mesh_fixtures.probe.variables import is_on
from mesh_fixtures.workloads import PLAIN_CLIENT
from mesh_fixtures.workloads import STATEFUL as STATEFUL_APP

HELLOWORLD: Final = "app=helloworld"
SLEEP: Final = "app=sleep"
STATEFUL: Final = f"app={STATEFUL_APP}"
"""Pods of HelloWorld that have host names."""
PLAIN: Final = f"app={PLAIN_CLIENT}"
"""The client that has no proxy."""

DEFAULT_DISCOVERY: Final = f"istiod.{SYSTEM_NAMESPACE}.svc:15012"
"""Where a proxy looks for istiod when its configuration does not say, whatever the mesh's names
(Istio: ProxyConfig)."""

_RUN: Final = "/run/"
_IDENTITY_FOLDERS: Final = tuple(
    f"{_RUN}secrets/{name}" for name in ("workload-spiffe-uds", "workload-spiffe-credentials")
)
"""Where a proxy's agent looks for the socket of an SDS server and for files with certificates. Only
where it finds neither, it asks an authority for certificates and serves them itself (Istio:
pilot-agent, `checkSocket`, `CheckWorkloadCertificate`)."""

_SOCKET_VOLUME: Final = "workload-socket"
"""What Istio's own template mounts there."""

TEMPLATES: Final = "istio-sidecar-injector"
"""How ConfigMaps with templates of injection are named; a revision may follow."""

_OTHER_SERVER: Final = "USE_EXTERNAL_WORKLOAD_SDS"
_SOCKET: Final = "WORKLOAD_IDENTITY_SOCKET_FILE"
_OWN_SOCKET: Final = "socket"
"""Variables by which the agent does not serve certificates itself, the older one first, and the
name of the socket by which it does (Istio: release notes, 45941 and 51979)."""


@dataclass(frozen=True)
class Injection:
    """The configuration that a proxy was injected with.

    Attributes:
        cluster_id: the mesh's name of its cluster. It and the next two may be empty.
        discovery: `host:port` of its istiod.
        answers_dns: whether DNS queries of its pod are answered beside it.
        network_view: the networks whose endpoints it asks istiod for, as gateways between networks
            do; empty for all.
    """

    cluster_id: str
    network: str
    mesh_id: str
    discovery: str
    answers_dns: bool = False
    network_view: str = ""


@dataclass(frozen=True)
class Workload:
    """A pod of a sample workload.

    Attributes:
        app: `helloworld` or `sleep`.
        version: empty for Sleep.
        injection: None when the pod has no proxy.
    """

    source: Source
    cluster: str
    app: str
    version: str
    pod: Pod
    injection: Injection | None


@dataclass(frozen=True)
class ControlPlane:
    """What of istiod runs in a cluster."""

    source: Source
    cluster: str
    deployments: tuple[Deployment, ...]
    pods: tuple[Pod, ...]

    @property
    def is_running(self) -> bool:
        """Whether a Deployment wants istiod, such as that of a revision, and each that does has a
        ready pod.
        """
        wanted = [each for each in self.deployments if each.wanted]
        return bool(wanted) and all(each.ready for each in wanted)

    def __str__(self) -> str:
        deployments = [f"{each.meta} {each.ready}/{each.wanted}" for each in self.deployments]
        pods = [f"pod {each.meta} {each.state}" for each in self.pods]
        return ", ".join(deployments + pods) or "no istiod"


@dataclass(frozen=True)
class Discovery:
    """What is behind the address at which a cluster's proxies look for istiod.

    Attributes:
        service: `namespace/name`; the host name itself where it is no Service's.
        targets: addresses and ports of its endpoints, or the host name that it stands for.
        selects: whether it selects pods of its own cluster.
    """

    source: Source
    service: str
    targets: frozenset[tuple[str, int]]
    selects: bool = False

    @property
    def addresses(self) -> frozenset[str]:
        """Without ports."""
        return frozenset(address for address, _ in self.targets)

    def __str__(self) -> str:
        return f"{self.service} at {', '.join(sorted(self.addresses)) or 'no address'}"


def workloads(kube: KubeClient) -> tuple[Workload, ...]:
    """Every pod of HelloWorld and Sleep in a cluster that is not going away.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    source = kube.source("pods", kube.sample_namespace)
    found = []
    for selector in (HELLOWORLD, SLEEP):
        for pod in kube.list(PODS, kube.sample_namespace, selector):
            if not pod.terminating:
                app, version = pod.meta.labels["app"], pod.meta.labels.get("version", "")
                found.append(Workload(source, kube.name, app, version, pod, injection_of(pod)))
    return tuple(found)


def pod_addresses(kube: KubeClient) -> frozenset[str]:
    """Addresses of a cluster's pods; only of the samples', where others may not be listed.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        pods = kube.list(PODS)
    except NotPermitted:
        pods = kube.list(PODS, kube.sample_namespace)
    return frozenset(address for pod in pods for address in pod.addresses)


def control_plane(kube: KubeClient) -> ControlPlane:
    """Deployments and pods of istiod in a cluster; none in a remote.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    namespace = kube.names.system_namespace
    source = kube.source("deployments,pods", namespace, f"-l {ISTIOD}")
    deployments = kube.list(DEPLOYMENTS, namespace, ISTIOD)
    return ControlPlane(source, kube.name, deployments, istiods(kube))


def discovery(kube: KubeClient, address: str) -> Discovery:
    """What is behind an address at which proxies of a cluster look for istiod.

    Args:
        address: `service.namespace.svc:port`, or that of any host, as in `Injection.discovery`.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    host, port = split_port(address)
    name, _, following = host.partition(".")
    namespace, _, domain = following.partition(".")
    if domain and domain.partition(".")[0] != "svc":
        source = Source(kube.name, "discoveryAddress", "what proxies are injected with")
        return Discovery(source, host, frozenset({(host, int(port))}))
    namespace = namespace or kube.names.system_namespace
    source = kube.source("services,endpointslices", namespace, name)
    service = kube.get(SERVICES, namespace, name)
    slices = kube.list(ENDPOINT_SLICES, namespace, f"{SERVICE_LABEL}={name}")
    targets = {(each, number) for one in slices for each in one.addresses for number in one.ports}
    if service is not None and service.kind == "ExternalName":
        targets |= {(each, int(port)) for each in service.external}
    return Discovery(
        source,
        f"{namespace}/{name}",
        frozenset(targets),
        selects=service is not None and bool(service.selector),
    )


def usual_discovery(names: MeshNames) -> str:
    """Where istiod has its proxies look for it, unless it is told otherwise (Istio: chart istiod,
    discoveryAddress).
    """
    return f"istiod.{names.system_namespace}.svc:15012"


def injection_of(pod: Pod) -> Injection | None:
    """The configuration of a pod's proxy; None without a proxy."""
    proxy = pod.container(PROXY)
    if proxy is None:
        return None
    return Injection(
        cluster_id=proxy.env.get("ISTIO_META_CLUSTER_ID", ""),
        network=proxy.env.get("ISTIO_META_NETWORK", ""),
        mesh_id=proxy.env.get("ISTIO_META_MESH_ID", ""),
        discovery=str(configuration(pod).get("discoveryAddress") or DEFAULT_DISCOVERY),
        answers_dns=is_on(proxy.env, DNS_CAPTURE),
        network_view=proxy.env.get(NETWORK_VIEW, ""),
    )


def is_signed_elsewhere(pod: Pod) -> bool:
    """Whether a pod's proxy gets its certificates from somebody else than its istiod."""
    return asks_another_authority(pod) or is_served_elsewhere(pod)


def is_served_elsewhere(pod: Pod) -> bool:
    """Whether a pod's proxy gets certificates and roots from what its node provides, and does not
    ask for them: from an SDS server such as SPIRE's, or from files (Istio: Integrations, SPIRE).
    """
    proxy = pod.container(PROXY)
    if proxy is None:
        return False
    if is_on(proxy.env, _OTHER_SERVER):
        return True
    if proxy.env.get(_SOCKET, _OWN_SOCKET) not in ("", _OWN_SOCKET):
        return True
    return any(
        pod.volumes.get(volume, "emptyDir") != "emptyDir"
        for path, volume in proxy.mounts.items()
        if path.removeprefix("/var").rstrip("/") in _IDENTITY_FOLDERS
    )


def may_be_served_elsewhere(kube: KubeClient) -> bool:
    """Whether a cluster's istiod has a template of injection by which proxies get certificates as
    `is_served_elsewhere` says; not where templates may not be read.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        found = kube.list(CONFIG_MAPS, kube.names.system_namespace)
    except NotPermitted:
        return False
    return any(
        _serves_elsewhere(template)
        for each in found
        if each.meta.name.startswith(TEMPLATES)
        for template in _templates(each.data.get("config", ""))
    )


def _templates(configuration: str) -> Iterator[str]:
    try:
        yield from map(str, (yaml.safe_load(configuration).get("templates") or {}).values())
    except (yaml.YAMLError, AttributeError):
        return


def _serves_elsewhere(template: str) -> bool:
    """Whether a template changes the volume of Istio's own, or mounts another in its place. Istio's
    own is text that becomes YAML only when somebody is injected, and is not read here.
    """
    try:
        spec = yaml.safe_load(template)["spec"]
        pod = Pod.read({"metadata": {"name": TEMPLATES}, "spec": spec})
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False
    return is_served_elsewhere(pod) or pod.volumes.get(_SOCKET_VOLUME, "emptyDir") != "emptyDir"


def asks_another_authority(pod: Pod) -> bool:
    """Whether a pod's proxy is told to ask another authority than its istiod for certificates
    (Istio: global.caAddress).
    """
    proxy, injection = pod.container(PROXY), injection_of(pod)
    if proxy is None or injection is None:
        return False
    address = proxy.env.get("CA_ADDR", "")
    return address not in ("", injection.discovery) and not address.startswith("istiod")


_TRAFFIC_ANNOTATION: Final = "traffic.sidecar.istio.io/"
_REDIRECTION: Final = "istio-iptables"
_REDIRECTED: Final = {
    "-i": "includeOutboundIPRanges",
    "-x": "excludeOutboundIPRanges",
    "-q": "includeOutboundPorts",
    "-o": "excludeOutboundPorts",
}
"""Options by which a pod's requests are redirected into its proxy (Istio: istio-iptables)."""


@dataclass(frozen=True)
class Redirection:
    """A setting by which a pod's requests are redirected into its proxy, or not.

    Attributes:
        name: as in the annotation `traffic.sidecar.istio.io/NAME`.
        annotated: whether an annotation of the pod says so, or the proxy's injector.
    """

    name: str
    value: str
    annotated: bool


def redirections(pod: Pod) -> tuple[Redirection, ...]:
    """What of a pod's requests its proxy gets; only settings that have a value."""
    found: dict[str, Redirection] = {}
    for container in pod.starting:
        if _REDIRECTION in container.arguments:
            options = dict(pairwise(container.arguments))
            for option, name in _REDIRECTED.items():
                if value := options.get(option, ""):
                    found[name] = Redirection(name, value, annotated=False)
    for name in _REDIRECTED.values():
        if value := pod.meta.annotations.get(f"{_TRAFFIC_ANNOTATION}{name}", ""):
            found[name] = Redirection(name, value, annotated=True)
    return tuple(found.values())
