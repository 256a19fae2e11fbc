"""Names that the guide and Istio give: variables, Kubernetes objects, and how to call kubectl."""

from __future__ import annotations

import re
from typing import Final

from mesh_fixtures.contract import SYSTEM_NAMESPACE as SYSTEM_NAMESPACE
from mesh_fixtures.scenario import DEFAULT_REVISION as DEFAULT_REVISION

GATEWAY: Final = "istio-eastwestgateway"
GATEWAY_LABELS: Final = {"istio": "eastwestgateway"}
"""By which pods of an east-west gateway are selected."""

NETWORK_LABEL: Final = "topology.istio.io/network"
GATEWAY_PORT_LABEL: Final = "networking.istio.io/gatewayPort"
CONTROL_PLANE_ANNOTATION: Final = "topology.istio.io/controlPlaneClusters"
INJECTION_LABEL: Final = "istio-injection"
REVISION_LABEL: Final = "istio.io/rev"
TAG_LABEL: Final = "istio.io/tag"
DNS_CAPTURE: Final = "ISTIO_META_DNS_CAPTURE"
"""Variable of a proxy by which it answers DNS queries of its pod (Istio: DNS Proxying)."""

NETWORK_VIEW: Final = "ISTIO_META_REQUESTED_NETWORK_VIEW"
"""Variable of a gateway's proxy: the networks whose endpoints it asks istiod for (Istio: chart
gateway, networkGateway)."""

EXPORT_TO: Final = "networking.istio.io/exportTo"
"""Annotation of a Service: the namespaces whose proxies know it (Istio: Resource Annotations)."""

MCS_DISCOVERY: Final = "ENABLE_MCS_SERVICE_DISCOVERY"
"""Variable of istiod: whether clusters know only those services of each other that are exported
(Istio: pilot-discovery)."""

MCS_HOST: Final = "ENABLE_MCS_HOST"
"""Variable of istiod: whether its proxies know services by their names in the cluster set, too."""

MCS_CLUSTER_LOCAL: Final = "ENABLE_MCS_CLUSTER_LOCAL"
"""Variable of istiod: whether Kubernetes' names stand for a client's own cluster only, too."""

DUAL_STACK: Final = "ISTIO_DUAL_STACK"
"""Variable of istiod and of proxies by which they use addresses of both families
(Istio: Install Istio in Dual-Stack mode)."""

BOTH_FAMILIES: Final = {"ipFamilyPolicy": "RequireDualStack"}
"""By which a Service has an address of each family, or is refused (Kubernetes: IPv4/IPv6
dual-stack)."""

PROXY_CONFIG: Final = "proxy.istio.io/config"
"""Annotation by which a pod's proxy is configured otherwise than others (Istio: ProxyConfig)."""

ISTIOCTL: Final = "istioctl"


def variable(kind: str, cluster: str) -> str:
    """Name of a shell variable about a cluster, e.g. `CTX_CLUSTER1`."""
    return f"{kind}_{re.sub('[^A-Z0-9]', '_', cluster.upper())}"


def context_variable(cluster: str) -> str:
    """Variable with the kubeconfig context of a cluster (guide: Environment Variables)."""
    return variable("CTX", cluster)


def api_server_variable(cluster: str) -> str:
    """Variable with the URL by which other clusters reach a cluster's API server."""
    return variable("API_SERVER", cluster)


def discovery_address_variable(cluster: str) -> str:
    """Variable with the address at which a primary's gateway passes its istiod to remotes."""
    return variable("DISCOVERY_ADDRESS", cluster)


def stateful_set(position: int) -> str:
    """Name of a cluster's StatefulSet of HelloWorld, which no other cluster's has.

    Args:
        position: of the cluster in its scenario.
    """
    return f"stateful-{position}"


def reference(name: str) -> str:
    """How a command refers to a variable."""
    return f"${{{name}}}"


def context(cluster: str) -> str:
    """The flag that selects a cluster, for kubectl and istioctl alike."""
    return f"--context={reference(context_variable(cluster))}"


def kube_context(cluster: str) -> str:
    """The flag that selects a cluster, for helm."""
    return f"--kube-context={reference(context_variable(cluster))}"


def kubectl(cluster: str, *arguments: str) -> tuple[str, ...]:
    """A kubectl call on a cluster."""
    return ("kubectl", context(cluster), *arguments)


def system_kubectl(cluster: str, *arguments: str) -> tuple[str, ...]:
    """A kubectl call on a cluster's istio-system."""
    return kubectl(cluster, "-n", SYSTEM_NAMESPACE, *arguments)


def istioctl_of(version: str) -> str:
    """The istioctl of a version, where there are several: each under a name of its own."""
    return f"{ISTIOCTL}-{version}"


def istiod(revision: str) -> str:
    """Name of a revision's Deployment and Service.

    Args:
        revision: empty for the default one.
    """
    return f"istiod-{revision}" if revision else "istiod"


def as_primary(cluster: str) -> str:
    """Title of the guide's section on a primary."""
    return f"Configure {cluster} as a primary"


def as_remote(cluster: str) -> str:
    """Title of the guide's section on a remote."""
    return f"Configure {cluster} as a remote"


def pods_and_events(cluster: str, namespace: str = SYSTEM_NAMESPACE) -> tuple[tuple[str, ...], ...]:
    """What shows why pods do not get ready."""
    return (
        kubectl(cluster, "-n", namespace, "get", "pods", "-o", "wide"),
        kubectl(cluster, "-n", namespace, "get", "events", "--sort-by=.lastTimestamp"),
    )


def logs(cluster: str, deployment: str) -> tuple[str, ...]:
    """What a Deployment of the control plane's namespace logged last."""
    return system_kubectl(cluster, "logs", f"deployment/{deployment}", "--tail=30")


def webhooks(cluster: str) -> tuple[str, ...]:
    """What shows which webhooks inject proxies, and by which labels they are chosen."""
    return kubectl(cluster, "get", "mutatingwebhookconfigurations", "--show-labels")


def webhook_served(cluster: str, labels: str, seconds: int) -> tuple[str, ...]:
    """Waits until istiod has given a webhook that injects what it is verified by.

    Args:
        labels: of its configuration.
    """
    bundle = "--for=jsonpath={.webhooks[0].clientConfig.caBundle}"
    configuration = ("mutatingwebhookconfigurations", "-l", labels)
    return kubectl(cluster, "wait", bundle, *configuration, f"--timeout={seconds}s")
