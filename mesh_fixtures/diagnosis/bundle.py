"""Writes down all that a person may want to look at after a failure, in one archive.

Kubernetes' and Istio's objects, events, logs, dumps of proxies, istiod's debug interface, routes
and filters of the lab where it knows them, the installation's logs, and the diagnosis with what it
was made from. Private keys and tokens are left out; see `mesh_fixtures.diagnosis.redaction`.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.contract import Lab
from mesh_fixtures.diagnosis.gather.batch import Batch, Query
from mesh_fixtures.diagnosis.redaction import REDACTED, redacted
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.executor import working_folder
from mesh_fixtures.kube import KubeClient, Pod, Resource, exec_source, resources
from mesh_fixtures.kube.objects import Json, decoded
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import PROXY, admin_source, admin_text
from mesh_fixtures.probe.istiod import CONTAINER
from mesh_fixtures.probe.remote_secrets import credentials_in
from mesh_fixtures.probe.view import MeshView

SECONDS: Final = 40.0
"""For everything that clusters are asked."""

_COMPRESSION: Final = 6
_LOG_LINES: Final = 2000

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
_IF_DEFINED: Final[tuple[Resource[Any], ...]] = (
    *(resources.GATEWAY_CLASSES, resources.GATEWAYS_BY_API),
    *(resources.HTTP_ROUTES, resources.TLS_ROUTES),
    *(resources.SERVICE_EXPORTS, resources.SERVICE_IMPORTS),
    *(kind for ways in resources.FURTHER_POLICIES for kinds in ways for kind in kinds),
)
"""Of APIs that not every mesh has; others have kinds of the same names."""

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

_Asked = tuple[str, str, Callable[[], str | None]]
"""File name, how a person would ask, and the query."""

_PUBLIC: Final = frozenset({"namespace", "name", "username"})
"""Entries of secrets that are none, and whose values are words."""


def file_of(folder: Path, topology: str) -> Path:
    """Where the bundle of a topology is, in the folder of reports."""
    return folder / f"{topology}-diagnostics.tar.gz"


def write_bundle(file: Path, view: MeshView, documents: Mapping[str, str]) -> None:
    """Write the archive; what cannot be read is listed in its `unread.txt`.

    Args:
        file: replaced when it is there; its folder is made.
        documents: further texts by file name, e.g. the diagnosis.

    Raises:
        OSError: the file cannot be written.
    """
    batch = Batch(patient(SECONDS))
    values = _secret_values(batch, view)
    asked = batch.all(_queries(batch, view))
    texts = dict(documents)
    texts |= {name: text for name, text in asked.items() if text is not None}
    texts |= {f"lab/networks/{name}.txt": text for name, text in view.lab.network_state().items()}
    texts |= _steps(view.lab)
    texts["unread.txt"] = "\n".join(map(str, batch.failed)) + "\n"
    _write(file, {name: redacted(text, values) for name, text in sorted(texts.items())})


def _write(file: Path, texts: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}")
    top = file.name.removesuffix(".tar.gz")
    with tarfile.open(unfinished, "w:gz", compresslevel=_COMPRESSION) as archive:
        for name, text in texts.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime = len(content), int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    unfinished.replace(file)


def _steps(lab: Lab) -> Mapping[str, Any]:
    """Output of the installation's steps."""
    logs = working_folder(lab) / "logs"
    return {
        f"install/{each.name}": each.read_text(encoding="utf-8", errors="replace")
        for each in sorted(logs.glob("*.log"))
    }


def _queries(batch: Batch, view: MeshView) -> dict[str, Query[str | None]]:
    """What to ask of all clusters; what there is to ask of depends on their pods."""
    namespaces = (view.lab.names.system_namespace, view.lab.sample_namespace)
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


def _objects(kube: KubeClient, namespaces: tuple[str, ...]) -> Iterator[_Asked]:
    for namespace in namespaces:
        for each in _NAMESPACED:
            source = f"kubectl --context={kube.name} -n {namespace} get {each.plural} -o json"
            file = f"resources/{namespace}/{each.plural}.json"
            yield file, source, partial(_items, kube, each, namespace)
    for each in _OF_CLUSTER:
        source = f"kubectl --context={kube.name} get {each.plural} -A -o json"
        yield f"resources/{each.plural}.json", source, partial(_items, kube, each)
    for each in _IF_DEFINED:
        source = f"kubectl --context={kube.name} get {each.full_name} -A -o json"
        yield f"resources/{each.full_name}.json", source, partial(_items, kube, each)


def _items(kube: KubeClient, resource: Resource[Any], namespace: str = "") -> str | None:
    """A list as the API server returns it; None where it does not know the kind, or holds none."""
    items = kube.items(resource, namespace)
    if not items:
        return None
    kept = [
        _without_values(item) if resource == resources.SECRETS else _trimmed(item) for item in items
    ]
    return json.dumps(kept, indent=1)


def _trimmed(item: Json) -> dict[str, Any]:
    meta = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": meta}


def _logs(kube: KubeClient, pod: Pod) -> Iterator[_Asked]:
    folder = f"logs/{pod.meta.namespace}/{pod.name}"
    for container in pod.containers:
        source = (
            f"kubectl --context={kube.name} -n {pod.meta.namespace} logs {pod.name} "
            f"-c {container.name}"
        )
        log = partial(kube.log, pod.meta.namespace, pod.name, container.name, lines=_LOG_LINES)
        yield f"{folder}/{container.name}.log", source, log
        if container.restarts:
            earlier = partial(log, previous=True)
            yield f"{folder}/{container.name}.previous.log", f"{source} --previous", earlier


def _dumps(kube: KubeClient, pod: Pod) -> Iterator[_Asked]:
    if pod.phase != "Running":
        return
    if pod.container(PROXY) is not None:
        for file, path in _OF_PROXY.items():
            source = admin_source(kube, pod, path)
            yield f"proxies/{pod.name}/{file}", source.asked, partial(_of_proxy, kube, pod, path)
    if pod.container(CONTAINER) is not None:
        for path in _OF_ISTIOD:
            argv = ("pilot-discovery", "request", "GET", f"/debug/{path}")
            source = exec_source(kube.name, pod.meta.namespace, pod.name, CONTAINER, argv)
            ask = partial(_of_istiod, kube, pod, argv)
            yield f"istiod/{pod.name}/{path}.json", source.asked, ask


def _of_proxy(kube: KubeClient, pod: Pod, path: str) -> str:
    return admin_text(kube, pod, path)[1]


def _of_istiod(kube: KubeClient, pod: Pod, argv: tuple[str, ...]) -> str:
    result = kube.exec(pod.meta.namespace, pod.name, CONTAINER, argv)
    if result.exit_status != 0:
        raise ProbeError(
            wanted="an answer",
            seen=result.stderr.strip() or f"exit status {result.exit_status}",
            where=result.source.subject,
        )
    return result.stdout


def _secret_values(batch: Batch, view: MeshView) -> frozenset[str]:
    """Every secret value in the system namespace and the samples' namespace of all clusters."""
    queries = {
        (name, namespace): Query(
            name,
            f"kubectl --context={name} -n {namespace} get secrets",
            partial(_values, kube, namespace),
        )
        for name, kube in view.kube.items()
        for namespace in (view.lab.names.system_namespace, view.lab.sample_namespace)
    }
    return frozenset(value for found in batch.all(queries).values() for value in found or ())


def _without_values(secret: Json) -> dict[str, Any]:
    """A secret with the sizes of its values, and no annotation: kubectl may put values into one."""
    meta = secret["metadata"]
    kept = ("name", "namespace", "labels", "creationTimestamp", "uid")
    return {
        "kind": "Secret",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "type": secret.get("type", ""),
        "data": {
            key: f"{REDACTED}, {len(decoded(value))} bytes"
            for key, value in (secret.get("data") or {}).items()
        },
    }


def _values(kube: KubeClient, namespace: str) -> frozenset[str]:
    return frozenset(
        value
        for secret in kube.list(resources.SECRETS, namespace)
        for value in _values_of(secret.data)
    )


def _values_of(data: Mapping[str, bytes]) -> Iterator[str]:
    for key, content in data.items():
        value = content.decode("utf-8", "replace").strip()
        credentials = tuple(credentials_in(value))
        is_certificate = "BEGIN CERTIFICATE" in value and "PRIVATE KEY" not in value
        if credentials:
            yield from credentials
        elif key not in _PUBLIC and not is_certificate:
            yield value
