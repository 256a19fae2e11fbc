"""Asks one cluster's API server, runs commands in its pods, and changes its objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Self

from mesh_fixtures.contract import GUIDE_NAMES, SAMPLE_NAMESPACE, Cluster, MeshNames
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.clock import THIS, Clock
from mesh_fixtures.kube.objects import Json, Pod
from mesh_fixtures.kube.resources import (
    ACCESS_REVIEWS,
    DEPLOYMENTS,
    PODS,
    Access,
    Item,
    Resource,
    resource_of,
)
from mesh_fixtures.kube.source import ExecResult, HttpAnswer, Source
from mesh_fixtures.kube.streams import Pipe
from mesh_fixtures.kube.transport import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    Refused,
    Transport,
    refusal,
    refusal_of_change,
)
from mesh_fixtures.patience import patient

EXEC_SECONDS: Final = 30.0
"""How long a command in a container may take by default."""

ASK_SECONDS: Final = 5.0
"""How long a port of a pod may leave a request without an answer."""


class KubeClient:
    """Reads objects of one cluster and runs commands in its pods. Thread-safe; changes nothing.

    Every method raises ProbeError when the API server cannot be asked or refuses.

    Args:
        sample_namespace: where the lab's HelloWorld and Sleep run.
        names: those of the mesh.
        forwards: whether istiods and proxies are asked at their ports, in place of by commands that
            are run beside them.

    Raises:
        ProbeError: the cluster's kubeconfig file cannot be used.
    """

    def __init__(
        self,
        cluster: Cluster,
        sample_namespace: str = SAMPLE_NAMESPACE,
        names: MeshNames = GUIDE_NAMES,
        *,
        forwards: bool = False,
    ) -> None:
        self.cluster = cluster
        self.sample_namespace = sample_namespace
        self.names = names
        self.forwards = forwards
        self._transport = Transport(cluster.name, cluster.kubeconfig)

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.cluster.name

    @property
    def clock(self) -> Clock | None:
        """The API server's, by its last answer; None before the first that says the time."""
        return self._transport.clock

    def now(self) -> datetime:
        """The present moment by the API server's clock, or by this machine's as long as that is
        not known.
        """
        return (self.clock or THIS).now()

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
            answer = self._transport.send(source, "POST", ACCESS_REVIEWS.path(), access.review())
        except Refused as error:
            raise refusal(source, error) from error
        return bool(answer.get("status", {}).get("allowed"))

    def list(
        self, resource: Resource[Item], namespace: str = "", selector: str = ""
    ) -> tuple[Item, ...]:
        """Objects by namespace and name.

        Args:
            namespace: empty for all, or for what is in none.
            selector: labels as `kubectl -l` takes them; empty for all.
        """
        items = self.items(resource, namespace, selector)
        return tuple(map(resource.read, sorted(items, key=_place)))

    def items(
        self, resource: Resource[Any], namespace: str = "", selector: str = ""
    ) -> tuple[Json, ...]:
        """Objects as JSON; none where the API server does not know the kind."""
        source = self.source(resource.plural, namespace, f"-l {selector}" if selector else "")
        query = {"labelSelector": selector} if selector else {}
        found = self._transport.read(source, resource.path(namespace), query)
        return tuple((found or {}).get("items") or ())

    def get(self, resource: Resource[Item], namespace: str, name: str) -> Item | None:
        """An object; None when there is none.

        Args:
            namespace: empty for what is in none.
        """
        source = self.source(resource.plural, namespace, name)
        item = self._transport.read(source, resource.path(namespace, name), {})
        return None if item is None else resource.read(item)

    def defines(self, resource: Resource[Any]) -> bool:
        """Whether the API server knows a kind."""
        source = self.source("--raw", "", f"/apis/{resource.api}")
        found = self._transport.read(source, f"/apis/{resource.api}", {})
        kinds = (found or {}).get("resources") or ()
        return any(each["name"] == resource.plural for each in kinds)

    def apis(self) -> frozenset[str]:
        """What the API server has of API groups, as objects have it in `apiVersion`; not the core
        group.
        """
        found = self._transport.read(self.source("--raw", "", "/apis"), "/apis", {})
        groups = (found or {}).get("groups") or ()
        return frozenset(each["groupVersion"] for group in groups for each in group["versions"])

    def require_answer(self, seconds: float) -> None:
        """Ask the API server once for its version.

        Args:
            seconds: that its answer may take.

        Raises:
            ProbeError: it does not answer in time.
        """
        source = self.source("version", "")
        try:
            self._transport.send(source, "GET", "/version", attempts=1, seconds=seconds)
        except Refused as error:
            if error.status != FORBIDDEN:  # which is an answer, too
                raise refusal(source, error) from error

    def version(self) -> str:
        """Version of the API server, e.g. `v1.36.3`."""
        return str(self._transport.read(self.source("version", ""), "/version", {})["gitVersion"])

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
        return self._transport.text(source, PODS.path(namespace, pod, "log"), query)

    def accepts(self, token: str) -> bool:
        """Whether the API server takes a bearer token for somebody's."""
        asked = f"kubectl --server={self.cluster.api_server} --token=... version"
        return self._transport.accepts(Source(self.name, "a token", asked), token)

    def permits(self, token: str, access: Access) -> bool:
        """Whether the API server permits something to whom a bearer token belongs to."""
        asked = f"kubectl --server={self.cluster.api_server} --token=... auth {access}"
        source = Source(self.name, "access of a token", asked)
        review = (ACCESS_REVIEWS.path(), access.review())
        answer = self._transport.ask_as(source, token, "POST", *review)
        return bool((answer or {}).get("status", {}).get("allowed"))

    def pod_of(self, namespace: str, selector: str) -> Pod:
        """The first pod, by name, that runs, is ready, and is not going away.

        Raises:
            ProbeError: there is none.
        """
        pods = self.list(PODS, namespace, selector)
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
            follow: called with all output so far whenever there is more.

        Raises:
            ProbeError: it could not be started, did not end in time, or the connection was lost. A
                command that ran and exited with another status than 0 is a result.
        """
        seconds = patient(EXEC_SECONDS) if timeout is None else timeout
        return self._transport.exec(namespace, pod, container, argv, seconds, follow)

    def ask(
        self, namespace: str, pod: str, port: int, path: str, method: str = "GET"
    ) -> HttpAnswer:
        """What a port of a pod answers to a request without a body; it may listen on the loopback
        address only.

        Raises:
            ProbeError: the port cannot be reached within `patient(ASK_SECONDS)`, or what listens
                there speaks no HTTP.
        """
        return self._transport.ask(namespace, pod, port, path, patient(ASK_SECONDS), method)

    def pipe(self, namespace: str, pod: str, container: str, argv: Sequence[str]) -> Pipe:
        """Start a command in a container, to exchange bytes with it. Close it when done."""
        return self._transport.pipe(namespace, pod, container, argv)


class KubeEditor(KubeClient):
    """Changes objects too; its own class, so that what probes get can change nothing. What it makes
    has the labels of `Cluster.labels`.

    What is done twice is as if done once. Every method raises ProbeError when the API server
    cannot be asked or refuses, and NotPermitted when it does not permit it.
    """

    def create(self, item: Json, namespace: str = "") -> bool:
        """Make an object, or leave the one alone that has its name.

        Args:
            namespace: that it belongs into; empty for what is in none.

        Returns:
            Whether it was made.
        """
        resource = resource_of(item)
        source = self._change_source("create", namespace, resource, item["metadata"]["name"])
        path, made = resource.path(namespace), self._labelled(item)
        return self._send(source, "POST", path, made, unless=(CONFLICT,))

    def dry_run(self, item: Json, namespace: str = "") -> Json:
        """An object as it would be made; nothing is. It is asked for once.

        Args:
            namespace: which has to be there; empty for what is in none.

        Raises:
            NotAdmitted: it would not be made, or a field of it is unknown.
        """
        resource = resource_of(item)
        source = self._change_source(
            "create --dry-run=server", namespace, resource, item["metadata"]["name"]
        )
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        path = resource.path(namespace)
        try:
            made: Json = self._transport.send(
                source, "POST", path, self._labelled(item), query, attempts=1
            )
        except Refused as error:
            raise refusal_of_change(source, error) from error
        return made

    def patch(
        self, resource: Resource[Any], namespace: str, name: str, change: Mapping[str, Any]
    ) -> None:
        """Set fields of an object, and leave its others as they are. Source: RFC 7386."""
        source = self._change_source("patch", namespace, resource, name)
        self._send(source, "PATCH", resource.path(namespace, name), change)

    def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Have a Deployment want a number of pods. Source: Kubernetes, Scale v1."""
        verb = f"scale --replicas={replicas}"
        source = self._change_source(verb, namespace, DEPLOYMENTS, deployment)
        path = DEPLOYMENTS.path(namespace, deployment, "scale")
        self._send(source, "PATCH", path, {"spec": {"replicas": replicas}})

    def delete(
        self,
        resource: Resource[Any],
        namespace: str,
        name: str,
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        foreground: bool = False,
    ) -> None:
        """Begin to remove an object, unless it is gone already or another one has its name.

        Args:
            uid: empty for whichever has its name.
            grace_seconds: between a pod's signal to stop and its end; None for what the pod itself
                says.
            foreground: whether it stays until what belongs to it is gone (Kubernetes: Garbage
                Collection, Foreground cascading deletion).
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if foreground:
            options["propagationPolicy"] = "Foreground"
        source = self._change_source("delete", namespace, resource, name)
        unless = (NOT_FOUND, CONFLICT) if uid else (NOT_FOUND,)
        self._send(source, "DELETE", resource.path(namespace, name), options, unless)

    def _labelled(self, item: Json) -> Json:
        if not self.cluster.labels:
            return item
        meta = item["metadata"]
        labels = {**meta.get("labels", {}), **self.cluster.labels}
        return {**item, "metadata": {**meta, "labels": labels}}

    def _send(
        self,
        source: Source,
        method: str,
        path: str,
        body: Mapping[str, Any],
        unless: Sequence[int] = (),
    ) -> bool:
        """Whether it was done, and not refused with a status by which nothing is left to do."""
        try:
            self._transport.send(source, method, path, body)
        except Refused as error:
            if error.status in unless:
                return False
            raise refusal_of_change(source, error) from error
        return True

    def _change_source(
        self, verb: str, namespace: str, resource: Resource[Any], name: str
    ) -> Source:
        named = f"{resource.kind.lower()}/{name}"
        where = f" -n {namespace}" if namespace else ""
        return Source(self.name, named, f"kubectl --context={self.name}{where} {verb} {named}")


def _place(item: Json) -> tuple[str, str]:
    meta = item["metadata"]
    return str(meta.get("namespace", "")), str(meta["name"])
