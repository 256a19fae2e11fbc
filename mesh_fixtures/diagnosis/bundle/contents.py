"""What a bundle holds of each cluster, as queries by file name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from mesh_fixtures.diagnosis.bundle.secrets import without_values
from mesh_fixtures.diagnosis.gather.batch import Batch, Query
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.istiod import CONTAINER
from mesh_fixtures.probe.view import MeshView

LOG_LINES: Final = 2000

_LOAD_BALANCER: Final = "metallb-system"
_CORE: Final = "/api/v1"
_APPS: Final = "/apis/apps/v1"
_NETWORKING: Final = "/apis/networking.istio.io/v1"
_SECURITY: Final = "/apis/security.istio.io/v1"
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"

_NAMESPACED: Final = (
    *((_CORE, kind) for kind in ("pods", "services", "configmaps", "serviceaccounts", "secrets")),
    (_CORE, "events"),
    *((_APPS, kind) for kind in ("deployments", "replicasets", "daemonsets")),
    ("/apis/discovery.k8s.io/v1", "endpointslices"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
)
_OF_CLUSTER: Final = (
    (_CORE, "namespaces"),
    (_CORE, "nodes"),
    (_ADMISSION, "mutatingwebhookconfigurations"),
    (_ADMISSION, "validatingwebhookconfigurations"),
    *(
        (_NETWORKING, kind)
        for kind in (
            *("gateways", "virtualservices", "destinationrules"),
            *("serviceentries", "workloadentries", "sidecars"),
        )
    ),
    ("/apis/networking.istio.io/v1alpha3", "envoyfilters"),
    *(
        (_SECURITY, kind)
        for kind in ("peerauthentications", "authorizationpolicies", "requestauthentications")
    ),
    ("/apis/telemetry.istio.io/v1", "telemetries"),
    *(("/apis/metallb.io/v1beta1", kind) for kind in ("ipaddresspools", "l2advertisements")),
)
_OF_ISTIOD: Final = (
    *("clusterz", "syncz", "connections", "networkz", "endpointShardz"),
    *("configz", "mesh", "push_status"),
)
_OF_PROXY: Final = {
    "config_dump.json": "config_dump?include_eds",
    "clusters.txt": "clusters",
    "listeners.txt": "listeners",
    "stats.txt": "stats?usedonly",
}

Asked = tuple[str, str, Callable[[], str | None]]
"""File name, how a person would ask, and the query."""


def queries(batch: Batch, view: MeshView) -> dict[str, Query[str | None]]:
    """What to ask of all clusters; what there is to ask of depends on their pods."""
    namespaces = (SYSTEM_NAMESPACE, view.lab.sample_namespace)
    pods = batch.all(
        {
            (name, namespace): Query(
                name,
                f"kubectl --context={name} -n {namespace} get pods",
                partial(kube.pods, namespace),
            )
            for name, kube in view.kube.items()
            for namespace in (*namespaces, _LOAD_BALANCER)
        }
    )
    found: dict[str, Query[str | None]] = {}
    for name, kube in view.kube.items():
        asked = [*_objects(kube, namespaces)]
        for (of, _), running in pods.items():
            for pod in running or () if of == name else ():
                asked += [*_logs(kube, pod), *_dumps(kube, pod)]
        found |= {f"{name}/{file}": Query(name, source, ask) for file, source, ask in asked}
    return found


def _objects(kube: KubeClient, namespaces: tuple[str, ...]) -> Iterator[Asked]:
    for namespace in namespaces:
        for api, kind in _NAMESPACED:
            source = f"kubectl --context={kube.name} -n {namespace} get {kind} -o json"
            path = f"{api}/namespaces/{namespace}/{kind}"
            yield f"resources/{namespace}/{kind}.json", source, partial(_items, kube, kind, path)
    for api, kind in _OF_CLUSTER:
        source = f"kubectl --context={kube.name} get {kind} -A -o json"
        yield f"resources/{kind}.json", source, partial(_items, kube, kind, f"{api}/{kind}")


def _items(kube: KubeClient, kind: str, path: str) -> str | None:
    """A list as the API server returns it; None where it does not know the kind, or holds none."""
    found = kube.read(kube.source(kind, ""), path)
    items: list[Json] = (found or {}).get("items") or []
    if not items:
        return None
    kept = [without_values(item) if kind == "secrets" else _trimmed(item) for item in items]
    return json.dumps(kept, indent=1)


def _trimmed(item: Json) -> dict[str, Any]:
    meta = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": meta}


def _logs(kube: KubeClient, pod: Pod) -> Iterator[Asked]:
    folder = f"logs/{pod.meta.namespace}/{pod.name}"
    for container in pod.containers:
        source = (
            f"kubectl --context={kube.name} -n {pod.meta.namespace} logs {pod.name} "
            f"-c {container.name}"
        )
        log = partial(kube.log, pod.meta.namespace, pod.name, container.name, lines=LOG_LINES)
        yield f"{folder}/{container.name}.log", source, log
        if container.restarts:
            earlier = partial(log, previous=True)
            yield f"{folder}/{container.name}.previous.log", f"{source} --previous", earlier


def _dumps(kube: KubeClient, pod: Pod) -> Iterator[Asked]:
    if pod.phase != "Running":
        return
    if pod.container(PROXY) is not None:
        for file, path in _OF_PROXY.items():
            argv = ("pilot-agent", "request", "GET", path)
            yield _executed(kube, pod, PROXY, f"proxies/{pod.name}/{file}", argv)
    if pod.container(CONTAINER) is not None:
        for path in _OF_ISTIOD:
            argv = ("pilot-discovery", "request", "GET", f"/debug/{path}")
            yield _executed(kube, pod, CONTAINER, f"istiod/{pod.name}/{path}.json", argv)


def _executed(
    kube: KubeClient, pod: Pod, container: str, file: str, argv: tuple[str, ...]
) -> Asked:
    where = f"kubectl --context={kube.name} -n {pod.meta.namespace} exec {pod.name} -c {container}"
    source = f"{where} -- {' '.join(argv)}"

    def ask() -> str:
        result = kube.exec(pod.meta.namespace, pod.name, container, argv)
        if result.exit_status != 0:
            raise ProbeError(
                wanted="an answer",
                seen=result.stderr.strip() or f"exit status {result.exit_status}",
                where=result.source.subject,
            )
        return result.stdout

    return file, source, ask
