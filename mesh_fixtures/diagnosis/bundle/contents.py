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
from mesh_fixtures.kube import KubeClient, Pod, Resource, resources
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.istiod import CONTAINER
from mesh_fixtures.probe.view import MeshView

LOG_LINES: Final = 2000

_LOAD_BALANCER: Final = "metallb-system"
_NAMESPACED: Final[tuple[Resource[Any], ...]] = (
    *(resources.PODS, resources.SERVICES, resources.CONFIG_MAPS, resources.SERVICE_ACCOUNTS),
    *(resources.SECRETS, resources.EVENTS),
    *(resources.DEPLOYMENTS, resources.REPLICA_SETS, resources.DAEMON_SETS),
    *(resources.ENDPOINT_SLICES, resources.NETWORK_POLICIES),
)
_OF_CLUSTER: Final[tuple[Resource[Any], ...]] = (
    *(resources.NAMESPACES, resources.NODES),
    *(resources.MUTATING_WEBHOOKS, resources.VALIDATING_WEBHOOKS),
    *(resources.GATEWAYS, resources.VIRTUAL_SERVICES, resources.DESTINATION_RULES),
    *(resources.SERVICE_ENTRIES, resources.WORKLOAD_ENTRIES, resources.SIDECARS),
    *(resources.ENVOY_FILTERS, resources.TELEMETRIES),
    *(resources.PEER_AUTHENTICATIONS, resources.AUTHORIZATION_POLICIES),
    *(resources.REQUEST_AUTHENTICATIONS, resources.ADDRESS_POOLS, resources.L2_ADVERTISEMENTS),
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
                partial(kube.list, resources.PODS, namespace),
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
        for each in _NAMESPACED:
            source = f"kubectl --context={kube.name} -n {namespace} get {each.plural} -o json"
            file = f"resources/{namespace}/{each.plural}.json"
            yield file, source, partial(_items, kube, each, namespace)
    for each in _OF_CLUSTER:
        source = f"kubectl --context={kube.name} get {each.plural} -A -o json"
        yield f"resources/{each.plural}.json", source, partial(_items, kube, each)


def _items(kube: KubeClient, resource: Resource[Any], namespace: str = "") -> str | None:
    """A list as the API server returns it; None where it does not know the kind, or holds none."""
    items = kube.items(resource, namespace)
    if not items:
        return None
    kept = [
        without_values(item) if resource == resources.SECRETS else _trimmed(item) for item in items
    ]
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
