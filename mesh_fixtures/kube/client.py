"""Asks one cluster's API server, and runs commands in its pods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final

from mesh_fixtures.contract import SAMPLE_NAMESPACE, Cluster
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.access import Access
from mesh_fixtures.kube.objects import (
    ConfigMap,
    Deployment,
    EndpointSlice,
    Event,
    Namespace,
    Secret,
    Service,
)
from mesh_fixtures.kube.pipe import Pipe
from mesh_fixtures.kube.pods import Pod
from mesh_fixtures.kube.source import ExecResult, Source
from mesh_fixtures.kube.transport import Refused, Transport, refusal
from mesh_fixtures.kube.webhooks import WebhookConfiguration
from mesh_fixtures.patience import patient

EXEC_SECONDS: Final = 30.0
"""How long a command in a container may take unless it is told otherwise."""

_CORE: Final = "/api/v1"


class KubeClient:
    """Reads objects of one cluster and runs commands in its pods. Thread-safe; changes nothing.

    Every method raises ProbeError when the API server cannot be asked or refuses.

    Args:
        sample_namespace: where the lab's HelloWorld and Sleep run.

    Raises:
        ProbeError: the cluster's kubeconfig file cannot be used.
    """

    def __init__(self, cluster: Cluster, sample_namespace: str = SAMPLE_NAMESPACE) -> None:
        self.cluster = cluster
        self.sample_namespace = sample_namespace
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
        """The source of what a read of this kind returns.

        Args:
            namespace: empty for what is in none.
        """
        where = f"-n {namespace}" if namespace else ""
        asked = " ".join(f"kubectl --context={self.name} get {kind} {where} {detail}".split())
        return Source(self.name, f"{kind} {namespace}".rstrip(), asked)

    def may(self, access: Access) -> bool:
        """Whether the API server permits something to whom the kubeconfig belongs to.

        Source: Kubernetes, SelfSubjectAccessReview v1.
        """
        source = Source(self.name, "access", f"kubectl --context={self.name} auth {access}")
        try:
            answer = self._transport.send(source, "POST", access.REVIEWS, access.review())
        except Refused as error:
            raise refusal(source, error) from error
        return bool(answer.get("status", {}).get("allowed"))

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

    def config_maps(self, namespace: str, selector: str = "") -> tuple[ConfigMap, ...]:
        return tuple(map(ConfigMap.read, self._list(_CORE, "configmaps", namespace, selector)))

    def secrets(self, namespace: str, selector: str = "") -> tuple[Secret, ...]:
        return tuple(map(Secret.read, self._list(_CORE, "secrets", namespace, selector)))

    def events(self, namespace: str) -> tuple[Event, ...]:
        """Events, oldest first."""
        found = map(Event.read, self._list(_CORE, "events", namespace, ""))
        return tuple(sorted(found, key=lambda event: event.at))

    def mutating_webhooks(self, selector: str = "") -> tuple[WebhookConfiguration, ...]:
        api, kind = "/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations"
        return tuple(map(WebhookConfiguration.read, self._list(api, kind, "", selector)))

    def endpoint_slices(self, namespace: str, service: str) -> tuple[EndpointSlice, ...]:
        """Endpoint slices of a Service."""
        selector = f"kubernetes.io/service-name={service}"
        items = self._list("/apis/discovery.k8s.io/v1", "endpointslices", namespace, selector)
        return tuple(map(EndpointSlice.read, items))

    def secret(self, namespace: str, name: str) -> Secret | None:
        """None when there is none. So for a single Service."""
        item = self._get("secrets", name, namespace)
        return None if item is None else Secret.read(item)

    def namespace(self, name: str) -> Namespace | None:
        item = self._get("namespaces", name)
        return None if item is None else Namespace.read(item)

    def service(self, namespace: str, name: str) -> Service | None:
        item = self._get("services", name, namespace)
        return None if item is None else Service.read(item)

    def read(self, source: Source, path: str) -> Any:
        """The JSON at a path of the API server, as it is; None when there is no such object."""
        return self._transport.read(source, path, {})

    def log(
        self, namespace: str, pod: str, container: str, *, lines: int, previous: bool = False
    ) -> str:
        """The end of a container's log.

        Args:
            previous: that of the container before its last restart.
        """
        asked = f"kubectl --context={self.name} -n {namespace} logs {pod} -c {container}"
        source = Source(self.name, f"{namespace}/{pod} ({container})", asked)
        query = {"container": container, "tailLines": str(lines), "previous": str(previous).lower()}
        return self._transport.text(source, f"{_CORE}/namespaces/{namespace}/pods/{pod}/log", query)

    def accepts(self, token: str) -> bool:
        """Whether the API server takes a bearer token for somebody's."""
        asked = f"kubectl --server={self.cluster.api_server} --token=... version"
        return self._transport.accepts(Source(self.name, "a token", asked), token)

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
        timeout: float | None = None,
        follow: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        """Run a command in a container, once, and wait for its end.

        Args:
            timeout: seconds that it may take; None for `patient(EXEC_SECONDS)`.
            follow: told whenever more has come of all that the command has printed so far.

        Raises:
            ProbeError: it could not be started, did not end in time, or the connection was lost. A
                command that ran and exited with another status than 0 is a result.
        """
        seconds = patient(EXEC_SECONDS) if timeout is None else timeout
        return self._transport.exec(namespace, pod, container, argv, seconds, follow)

    def pipe(self, namespace: str, pod: str, container: str, argv: Sequence[str]) -> Pipe:
        """Start a command in a container, to exchange bytes with it. Close it when done."""
        return self._transport.pipe(namespace, pod, container, argv)

    def _list(self, api: str, kind: str, namespace: str, selector: str) -> list[Any]:
        source = self.source(kind, namespace, f"-l {selector}" if selector else "")
        query = {"labelSelector": selector} if selector else {}
        within = f"/namespaces/{namespace}" if namespace else ""
        found = self._transport.read(source, f"{api}{within}/{kind}", query)
        items: list[Any] = (found or {}).get("items") or []
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def _get(self, kind: str, name: str, namespace: str = "") -> Any:
        source = self.source(kind, namespace, name)
        within = f"/namespaces/{namespace}" if namespace else ""
        return self._transport.read(source, f"{_CORE}{within}/{kind}/{name}", {})
