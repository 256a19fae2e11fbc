"""An API server that stands in for a new cluster: it takes what a client applies, remembers it, and
says that it is ready.

It knows what clusters have in common that hold nothing of Istio: every collection is empty, and
there is no object, until it is applied. Changes other than those that istioctl makes are refused.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import yaml

from mesh_fixtures.kube.objects import Json

AUTHORITY: Final = "dGhlIGF1dGhvcml0eSBvZiBpc3Rpb2Q="
"""What webhooks are verified by, as clients see it here; istiod would give them its own."""

DEFINITIONS: Final = "customresourcedefinitions"
WORKLOADS: Final = "deployments"
AWAITED: Final = (DEFINITIONS, WORKLOADS)
"""Plurals of what has to become ready."""

MUTATING: Final = "mutatingwebhookconfigurations"
VALIDATING: Final = "validatingwebhookconfigurations"
_KINDS: Final = {
    "deployments": "Deployment",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "namespaces": "Namespace",
    "pods": "Pod",
    "replicasets": "ReplicaSet",
    "services": "Service",
}
"""Kinds that clients take for nothing else when there are none."""

_DISCOVERY: Final[Mapping[str, Json]] = {
    "/api": {"kind": "APIVersions", "versions": []},
    "/apis": {"apiVersion": "v1", "kind": "APIGroupList", "groups": []},
}
"""Without which clients guess by the rule that holds for all kinds that they apply."""

_NARROWED: Final = frozenset({"labelSelector", "limit", "resourceVersion"})
_PATH: Final = re.compile(
    r"(?P<root>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Place:
    """Where an object is, or objects are.

    Attributes:
        root: of its group and version, e.g. `/apis/apps/v1`.
        namespace: empty for what is in none, and for all.
        name: empty for all.
    """

    root: str
    namespace: str
    plural: str
    name: str

    @classmethod
    def of(cls, path: str) -> Place:
        """That of a path.

        Raises:
            ValueError: it is no path of objects.
        """
        found = _PATH.fullmatch(path)
        if found is None:
            raise ValueError(path)
        return cls(found["root"], found["namespace"] or "", found["plural"], found["name"] or "")

    @property
    def collection(self) -> str:
        """Path of what is beside it."""
        within = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.root}{within}/{self.plural}"

    def has(self, other: Place) -> bool:
        """Whether an object is one of these."""
        same = (self.root, self.plural) == (other.root, other.plural)
        return same and self.namespace in ("", other.namespace)


@dataclass(frozen=True)
class Apply:
    """A server-side apply.

    Attributes:
        query: of the request, with the field manager.
        body: the object as YAML.
    """

    path: str
    query: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Change:
    """An update of an object that is there.

    Attributes:
        manager: who is said to have changed the fields.
        operations: what was changed (source: RFC 6902).
    """

    path: str
    manager: str
    operations: Sequence[Json]


@dataclass(frozen=True)
class Wait:
    """That an object has to be ready before what comes next."""

    path: str


Event = Apply | Change | Wait


class StandIn:
    """The cluster, as clients see it. Thread-safe.

    Args:
        version: what its API server says of its version.
        before: what was done to it before, by installations that succeeded.
    """

    def __init__(self, version: Json, before: Sequence[Event] = ()) -> None:
        self.events: list[Event] = []
        self.refused: list[str] = []
        self._version = version
        self._objects: dict[str, Json] = {}
        self._lock = threading.RLock()
        self._put("/api/v1/namespaces/istio-system", _namespace("istio-system"))
        for event in before:
            if isinstance(event, Apply):
                self._put(event.path, _parsed(event))
            elif isinstance(event, Change):
                patch(self._objects[event.path], event.operations)
        self._let_istiod_serve()

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Json]:
        """Status and body of the answer to a GET."""
        if path == "/version":
            return 200, self._version
        if path in _DISCOVERY:
            return 200, _DISCOVERY[path]
        try:
            place = Place.of(path)
        except ValueError:
            return self.refuse("GET", path)
        with self._lock:
            if not place.name:
                return self._list(place, query)
            item = self._objects.get(path)
            if item is None:
                return 404, _status(404, "NotFound", path)
            if place.plural in AWAITED and Wait(path) not in self.events:
                self.events.append(Wait(path))
            return 200, item

    def apply(self, path: str, query: Mapping[str, str], kind: str, body: str) -> tuple[int, Json]:
        """Status and body of the answer to a PATCH.

        Args:
            kind: the type of its content.
        """
        if not kind.startswith("application/apply-patch") or "dryRun" in query:
            return self.refuse(f"PATCH ({kind})", path)
        event = Apply(path, query, body)
        with self._lock:
            self.events.append(event)
            return 200, self._put(path, _parsed(event))

    def update(self, path: str, manager: str, body: str) -> tuple[int, Json]:
        """Status and body of the answer to a PUT."""
        with self._lock:
            before = self._objects.get(path)
            if before is None:
                return self.refuse("PUT", path)
            operations = tuple(differences(_own(before), _own(json.loads(body))))
            self.events.append(Change(path, manager, operations))
            patch(before, operations)
            return 200, before

    def refuse(self, method: str, path: str) -> tuple[int, Json]:
        """Status and body of the answer to what it does not know."""
        self.refused.append(f"{method} {path}")
        return 501, _status(501, "NotImplemented", f"{method} {path} is unknown here")

    def _list(self, place: Place, query: Mapping[str, str]) -> tuple[int, Json]:
        if query.keys() - _NARROWED and any(self._those(place)):
            return self.refuse("GET", f"{place.collection} by {', '.join(query)}")
        wanted = query.get("labelSelector", "")
        if place.plural == "replicasets":
            of = Place(place.root, place.namespace, WORKLOADS, "")
            found = [_replica_set(each) for each in self._those(of)]
        else:
            found = list(self._those(place))
        try:
            chosen = [each for each in found if selects(wanted, _labels(each))]
        except ValueError:
            return self.refuse("GET", f"{place.collection} by {wanted}")
        api = place.root.removeprefix("/apis/").removeprefix("/api/")
        kind = _KINDS.get(place.plural, "")
        return 200, {
            "apiVersion": api if kind else "v1",
            "kind": f"{kind}List",
            "metadata": {"resourceVersion": "1"},
            "items": chosen,
        }

    def _those(self, place: Place) -> Iterator[Json]:
        return (item for path, item in self._objects.items() if place.has(Place.of(path)))

    def _put(self, path: str, item: Json) -> Json:
        """Remember an object as a cluster has it whose controllers have done their work."""
        place = Place.of(path)
        meta = {**item["metadata"], "uid": path, "resourceVersion": "1", "generation": 1}
        if place.namespace:
            meta["namespace"] = place.namespace
        item = {**item, "metadata": meta}
        if place.plural == DEFINITIONS:
            item["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if place.plural == WORKLOADS:
            replicas = item["spec"].setdefault("replicas", 1)
            item["status"] = dict.fromkeys(("replicas", "updatedReplicas"), replicas)
        if place.plural in (MUTATING, VALIDATING):
            for webhook in item["webhooks"]:
                webhook["clientConfig"]["caBundle"] = AUTHORITY
        self._objects[path] = item
        return item

    def _let_istiod_serve(self) -> None:
        """What an istiod does that serves its own cluster: the validation of configuration can be
        relied on. Nothing in a remote, whose webhooks its primary's istiod leaves as they are.
        """
        if not any(_is_istiod(item) for item in self._objects.values()):
            return
        for path, item in self._objects.items():
            if Place.of(path).plural == VALIDATING:
                for webhook in item["webhooks"]:
                    webhook["failurePolicy"] = "Fail"

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve it on this machine's loopback, by the URL that is yielded."""
        cluster = self

        class Handler(_Handler):
            stand_in = cluster

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _is_istiod(item: Json) -> bool:
    return item.get("kind") == "Deployment" and _labels(item).get("app") == "istiod"


class _Handler(BaseHTTPRequestHandler):
    """Reads requests and writes answers."""

    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def do_GET(self) -> None:
        path, query = self._asked()
        self._answer(*self.stand_in.get(path, query))

    def do_PATCH(self) -> None:
        path, query = self._asked()
        kind = self.headers.get("Content-Type", "")
        self._answer(*self.stand_in.apply(path, query, kind, self._body()))

    def do_PUT(self) -> None:
        path, query = self._asked()
        agent = self.headers.get("User-Agent", "").partition("/")[0]
        manager = query.get("fieldManager", agent)
        self._answer(*self.stand_in.update(path, manager, self._body()))

    def do_POST(self) -> None:
        self._refuse()

    def do_DELETE(self) -> None:
        self._refuse()

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""

    def _refuse(self) -> None:
        self._body()
        self._answer(*self.stand_in.refuse(self.command, urlsplit(self.path).path))

    def _asked(self) -> tuple[str, Mapping[str, str]]:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        query.pop("timeout", "")
        return parts.path, query

    def _body(self) -> str:
        return self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()

    def _answer(self, status: int, body: Json) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels are selected (source: Kubernetes, Labels and Selectors, without sets).

    Raises:
        ValueError: the selector is none of those.
    """
    for part in filter(None, (each.strip() for each in selector.split(","))):
        key, equals, value = part.partition("=")
        if "(" in key or key.endswith("!"):
            raise ValueError(selector)
        if equals:
            if labels.get(key.strip()) != value.removeprefix("=").strip():
                return False
        elif key.startswith("!"):
            if key[1:] in labels:
                return False
        elif key not in labels:
            return False
    return True


def differences(before: Any, after: Any, path: str = "") -> Iterator[Json]:
    """Operations that make one JSON value of another (source: RFC 6902); lists of another length
    are replaced as a whole.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() - after.keys():
            yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
        for key, value in after.items():
            if key in before:
                yield from differences(before[key], value, f"{path}/{_escaped(key)}")
            else:
                yield {"op": "add", "path": f"{path}/{_escaped(key)}", "value": value}
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for position, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{path}/{position}")
    elif before != after:
        yield {"op": "add", "path": path, "value": after}


def patch(item: Json, operations: Sequence[Json]) -> None:
    """Change a JSON object by operations as `differences` makes them."""
    for operation in operations:
        *above, last = (_unescaped(part) for part in operation["path"].split("/")[1:])
        at: Any = item
        for part in above:
            at = at[int(part)] if isinstance(at, list) else at[part]
        key: Any = int(last) if isinstance(at, list) else last
        if operation["op"] == "remove":
            del at[key]
        else:
            at[key] = copy.deepcopy(operation["value"])


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _own(item: Json) -> Json:
    """An object without what API servers and client libraries add to it by themselves."""
    kept = ("labels", "annotations")
    meta = {key: item["metadata"][key] for key in kept if item["metadata"].get(key)}
    return {**{key: each for key, each in item.items() if key != "status"}, "metadata": meta}


def _parsed(event: Apply) -> Json:
    """The object that is applied; of a definition, which is long, only what clients look at."""
    place = Place.of(event.path)
    if place.plural == DEFINITIONS:
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": place.name},
        }
    item: Json = yaml.load(event.body, Loader=_LOADER)  # noqa: S506, both loaders are safe
    return item


def _namespace(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name},
        "status": {"phase": "Active"},
    }


def _replica_set(deployment: Json) -> Json:
    """The pods of a Deployment, all of which are ready."""
    meta, spec = deployment["metadata"], deployment["spec"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": spec["template"]["metadata"].get("labels", {}),
            "ownerReferences": [owner],
        },
        "spec": {key: spec[key] for key in ("replicas", "selector", "template")},
        "status": {"replicas": spec["replicas"], "readyReplicas": spec["replicas"]},
    }


def _labels(item: Json) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _status(code: int, reason: str, message: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
