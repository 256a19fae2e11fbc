"""All objects of a cluster, without what differs between two installations of the same mesh."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tests.lab.commands import Commands

PASSING: Final = frozenset(
    {
        *("events", "events.events.k8s.io", "leases.coordination.k8s.io"),
        *("componentstatuses", "controllerrevisions.apps", "pods", "endpoints"),
        *("endpointslices.discovery.k8s.io", "csinodes.storage.k8s.io"),
        *("servicel2statuses.metallb.io", "ipaddresses.networking.k8s.io"),
    }
)
"""Resources whose objects come and go with pods, have random names or addresses for names, or are
about now."""

ALLOCATED: Final = frozenset({"clusterIP", "clusterIPs", "nodePort", "healthCheckNodePort"})
"""Fields whose values are chosen at random."""

_OF_THE_OBJECT: Final = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"}
)
_SECRET: Final = re.compile(r"BEGIN CERTIFICATE|BEGIN RSA|^[A-Za-z0-9+/=]{200,}$")
_OF_THIS_CLUSTER: Final = frozenset(
    {"control-plane.alpha.kubernetes.io/leader", "kubernetes.io/service-account.uid"}
)
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""Of a Secret, it has the secret."""

_BY_UID: Final = 'k:{"uid":'
_VALUE: Final = "(a value)"


def objects_of(lab: Commands, cluster: str) -> Mapping[str, Any]:
    """Content by `KIND NAMESPACE/NAME`."""
    listed = lab.kubectl(cluster, "api-resources", "--verbs=list,get", "-o", "name")
    kinds = [each for each in listed.split() if each not in PASSING]
    asked = ("get", ",".join(kinds), "-A", "-o", "json", "--show-managed-fields")
    items = json.loads(lab.kubectl(cluster, *asked))["items"]
    return dict(map(normalized, items))


def normalized(item: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and content of an object."""
    meta = item["metadata"]
    kept = {key: value for key, value in meta.items() if key not in _OF_THE_OBJECT}
    owners = [{**owner, "uid": _VALUE} for owner in meta.get("ownerReferences", ())]
    masked = {*_OF_THIS_CLUSTER, *([_LAST_APPLIED] if item["kind"] == "Secret" else [])}
    annotations = {key: _VALUE if key in masked else value for key, value in _annotations(meta)}
    content = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    for data in ("data", "stringData") if item["kind"] == "Secret" else ():
        content[data] = sorted(content.get(data) or ())
    whole = {
        **content,
        "metadata": {**kept, "ownerReferences": owners, "annotations": annotations},
        "managers": _managers(meta.get("managedFields", ())),
        "address": (item.get("status") or {}).get("loadBalancer"),
    }
    name = f"{item['kind']} {meta.get('namespace', '')}/{meta['name']}"
    return name, _without_values(whole)


def _annotations(meta: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return (meta.get("annotations") or {}).items()


def _managers(entries: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Fields by who set them, without those of the status."""
    return {
        f"{entry['manager']} {entry['operation']}": entry["fieldsV1"]
        for entry in entries
        if entry.get("subresource") != "status"
    }


def _without_values(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {
            _BY_UID if name.startswith(_BY_UID) else name: _without_values(each, name)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_without_values(each, key) for each in value]
    if key in ALLOCATED or (isinstance(value, str) and _SECRET.search(value)):
        return _VALUE
    return value


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """What differs between the two, a line each."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for position, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from differences(first, second, f"{path}/{position}")
    elif one != other:
        yield f"{path}: {_short(one)} / {_short(other)}"


def _short(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, sort_keys=True)[:200]
