"""Asks one cluster's API server, and runs commands in its pods."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.objects import (
    ConfigMap,
    Deployment,
    EndpointSlice,
    Meta,
    Node,
    Secret,
    Service,
    Webhook,
)
from mesh_fixtures.kube.pods import Pod
from mesh_fixtures.kube.source import ExecResult, Source
from mesh_fixtures.kube.transport import Transport
from mesh_fixtures.lab.provider import Cluster

EXEC_SECONDS: Final = 30.0
"""How long a command in a container may take unless it is told otherwise."""

_CORE: Final = "CoreV1Api"


class KubeClient:
    """Reads objects of one cluster and runs commands in its pods. Thread-safe; changes nothing.

    Every method raises ProbeError when the API server cannot be asked or refuses.

    Raises:
        ProbeError: the cluster's kubeconfig file cannot be used.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._transport = Transport(cluster.name, cluster.kubeconfig)

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.cluster.name

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> KubeClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def source(self, kind: str, namespace: str = "", detail: str = "") -> Source:
        """The source of what a read of this kind returns."""
        asked = f"kubectl --context={self.name} get {kind}"
        if namespace:
            asked += f" -n {namespace}"
        return Source(self.name, f"{kind} {namespace}".strip(), f"{asked} {detail}".strip())

    def pods(self, namespace: str, selector: str = "") -> tuple[Pod, ...]:
        """Pods by name. So for the other lists.

        Args:
            selector: labels as `kubectl -l` takes them; empty for all.
        """
        items = self._list("pods", "list_namespaced_pod", namespace, selector)
        return tuple(Pod.read(item) for item in items)

    def services(self, namespace: str, selector: str = "") -> tuple[Service, ...]:
        items = self._list("services", "list_namespaced_service", namespace, selector)
        return tuple(Service.read(item) for item in items)

    def deployments(self, namespace: str, selector: str = "") -> tuple[Deployment, ...]:
        method = "list_namespaced_deployment"
        items = self._list("deployments", method, namespace, selector, api="AppsV1Api")
        return tuple(Deployment.read(item) for item in items)

    def endpoint_slices(self, namespace: str, service: str) -> tuple[EndpointSlice, ...]:
        """Endpoint slices of a Service."""
        selector = f"kubernetes.io/service-name={service}"
        method = "list_namespaced_endpoint_slice"
        items = self._list("endpointslices", method, namespace, selector, api="DiscoveryV1Api")
        return tuple(EndpointSlice.read(item) for item in items)

    def secrets(self, namespace: str, selector: str = "") -> tuple[Secret, ...]:
        items = self._list("secrets", "list_namespaced_secret", namespace, selector)
        return tuple(Secret.read(item) for item in items)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node.read(item) for item in self._list("nodes", "list_node", "", ""))

    def webhooks(self) -> tuple[Webhook, ...]:
        """Webhooks of all mutating and validating configurations."""
        found: list[Webhook] = []
        for kind in ("mutating", "validating"):
            what, method = (
                f"{kind}webhookconfigurations",
                f"list_{kind}_webhook_configuration",
            )
            for item in self._list(what, method, "", "", api="AdmissionregistrationV1Api"):
                found += Webhook.read_all(item)
        return tuple(found)

    def secret(self, namespace: str, name: str) -> Secret | None:
        """None when there is none. So for the other single objects."""
        item = self._get("secrets", "read_namespaced_secret", name, namespace)
        return None if item is None else Secret.read(item)

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        item = self._get("configmaps", "read_namespaced_config_map", name, namespace)
        return None if item is None else ConfigMap.read(item)

    def service(self, namespace: str, name: str) -> Service | None:
        item = self._get("services", "read_namespaced_service", name, namespace)
        return None if item is None else Service.read(item)

    def namespace(self, name: str) -> Meta | None:
        item = self._get("namespaces", "read_namespace", name)
        return None if item is None else Meta.read(item)

    def pod_of(self, namespace: str, selector: str) -> Pod:
        """The first pod, by name, that runs, is ready, and is not going away.

        Raises:
            ProbeError: there is none.
        """
        pods = self.pods(namespace, selector)
        for pod in pods:
            if pod.serving:
                return pod
        raise ProbeError(
            wanted=f"a ready pod with {selector} in namespace {namespace}",
            seen=", ".join(f"{pod.name} {pod.state}" for pod in pods) or "no such pod",
            where=self.name,
            remedy=f"kubectl --context={self.name} -n {namespace} describe pods -l {selector}",
        )

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        timeout: float = EXEC_SECONDS,
    ) -> ExecResult:
        """Run a command in a container, once, and wait for its end.

        Args:
            timeout: seconds that it may take.

        Raises:
            ProbeError: it could not be started, did not end in time, or the connection was lost. A
                command that ran and exited with another status than 0 is a result.
        """
        return self._transport.exec(namespace, pod, container, argv, timeout)

    def _list(
        self, kind: str, method: str, namespace: str, selector: str, api: str = _CORE
    ) -> list[Any]:
        detail = f"-l {selector}" if selector else ""
        source = self.source(kind, namespace, detail)
        options = {"label_selector": selector} if selector else {}
        scope = (namespace,) if namespace else ()
        found = self._transport.read(source, api, method, *scope, **options)
        items: list[Any] = (found or {}).get("items") or []
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def _get(self, kind: str, method: str, name: str, namespace: str = "") -> Any:
        scope = (name, namespace) if namespace else (name,)
        return self._transport.read(self.source(kind, namespace, name), _CORE, method, *scope)
