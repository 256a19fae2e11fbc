"""Asks one cluster's API server, and runs commands in its pods."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.objects import Deployment, EndpointSlice, Secret, Service
from mesh_fixtures.kube.pods import Pod
from mesh_fixtures.kube.source import ExecResult, Source
from mesh_fixtures.kube.transport import Transport
from mesh_fixtures.lab.provider import Cluster

EXEC_SECONDS: Final = 30.0
"""How long a command in a container may take unless it is told otherwise."""

_CORE: Final = "/api/v1"


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

    def source(self, kind: str, namespace: str, detail: str = "") -> Source:
        """The source of what a read of this kind returns."""
        asked = f"kubectl --context={self.name} get {kind} -n {namespace} {detail}"
        return Source(self.name, f"{kind} {namespace}", asked.rstrip())

    def pods(self, namespace: str, selector: str = "") -> tuple[Pod, ...]:
        """Pods by name. So for the other lists.

        Args:
            selector: labels as `kubectl -l` takes them; empty for all.
        """
        return tuple(map(Pod.read, self._list(_CORE, "pods", namespace, selector)))

    def services(self, namespace: str, selector: str = "") -> tuple[Service, ...]:
        return tuple(map(Service.read, self._list(_CORE, "services", namespace, selector)))

    def deployments(self, namespace: str, selector: str = "") -> tuple[Deployment, ...]:
        items = self._list("/apis/apps/v1", "deployments", namespace, selector)
        return tuple(map(Deployment.read, items))

    def endpoint_slices(self, namespace: str, service: str) -> tuple[EndpointSlice, ...]:
        """Endpoint slices of a Service."""
        selector = f"kubernetes.io/service-name={service}"
        items = self._list("/apis/discovery.k8s.io/v1", "endpointslices", namespace, selector)
        return tuple(map(EndpointSlice.read, items))

    def secret(self, namespace: str, name: str) -> Secret | None:
        """None when there is none. So for a single Service."""
        item = self._get("secrets", name, namespace)
        return None if item is None else Secret.read(item)

    def service(self, namespace: str, name: str) -> Service | None:
        item = self._get("services", name, namespace)
        return None if item is None else Service.read(item)

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

    def _list(self, api: str, kind: str, namespace: str, selector: str) -> list[Any]:
        source = self.source(kind, namespace, f"-l {selector}" if selector else "")
        query = {"labelSelector": selector} if selector else {}
        found = self._transport.read(source, f"{api}/namespaces/{namespace}/{kind}", query)
        items: list[Any] = (found or {}).get("items") or []
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def _get(self, kind: str, name: str, namespace: str) -> Any:
        source = self.source(kind, namespace, name)
        return self._transport.read(source, f"{_CORE}/namespaces/{namespace}/{kind}/{name}", {})
