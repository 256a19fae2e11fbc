"""Kubernetes objects as the probes see them: only the fields that a question needs, typed.

Each `read` takes an object as the API server returns it (JSON). Source: Kubernetes API reference.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


def texts(value: Mapping[str, Any] | None) -> Mapping[str, str]:
    """A map of texts, which the API server leaves out when it is empty."""
    return {str(key): str(each) for key, each in (value or {}).items()}


@dataclass(frozen=True)
class Meta:
    """Name, namespace (empty for cluster-scoped objects), labels and annotations."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, item: Json) -> Meta:
        meta = item["metadata"]
        return cls(
            name=meta["name"],
            namespace=meta.get("namespace", ""),
            labels=texts(meta.get("labels")),
            annotations=texts(meta.get("annotations")),
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def condition(status: Json, kind: str) -> bool:
    """Whether a status has a condition of this kind that is true."""
    conditions: Iterable[Json] = status.get("conditions") or ()
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def literals(container: Json) -> Mapping[str, str]:
    """Variables of a container that have literal values."""
    return {each["name"]: each["value"] for each in container.get("env") or () if "value" in each}


@dataclass(frozen=True)
class Namespace:
    """A Namespace.

    Attributes:
        uid: tells it from a later one of the same name, and clusters from each other.
        remaining: what keeps it from going away, while it is being deleted.
    """

    meta: Meta
    uid: str
    remaining: tuple[str, ...] = ()

    @classmethod
    def read(cls, item: Json) -> Namespace:
        conditions: Iterable[Json] = item.get("status", {}).get("conditions") or ()
        return cls(
            meta=Meta.read(item),
            uid=str(item["metadata"].get("uid", "")),
            remaining=tuple(
                str(each.get("message", each["type"]))
                for each in conditions
                if each["status"] == "True"
            ),
        )


@dataclass(frozen=True)
class ConfigMap:
    """A ConfigMap with its text data."""

    meta: Meta
    data: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, item: Json) -> ConfigMap:
        return cls(Meta.read(item), texts(item.get("data")))


@dataclass(frozen=True)
class Deployment:
    """A Deployment: how many pods it wants, and how many of them are ready.

    Attributes:
        env: variables with literal values, by container.
    """

    meta: Meta
    wanted: int
    ready: int
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, item: Json) -> Deployment:
        wanted = item["spec"].get("replicas", 1)
        ready = item.get("status", {}).get("readyReplicas", 0)
        pod = item["spec"].get("template", {}).get("spec", {})
        env = {each["name"]: literals(each) for each in pod.get("containers") or ()}
        return cls(Meta.read(item), int(wanted), int(ready), env)


@dataclass(frozen=True)
class Service:
    """A Service.

    Attributes:
        kind: ClusterIP, NodePort, LoadBalancer or ExternalName.
        selector: labels of its pods; empty when its endpoints are made by somebody else.
        ports: port numbers by name; a port without a name has its number as name.
        external: addresses or host names that its load balancer got, or its external name.
    """

    meta: Meta
    kind: str
    selector: Mapping[str, str]
    ports: Mapping[str, int]
    external: tuple[str, ...]

    @classmethod
    def read(cls, item: Json) -> Service:
        spec = item["spec"]
        ingress = item.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        external = [each.get("ip") or each.get("hostname", "") for each in ingress]
        external.append(spec.get("externalName", ""))
        return cls(
            meta=Meta.read(item),
            kind=spec.get("type", "ClusterIP"),
            selector=texts(spec.get("selector")),
            ports={
                each.get("name", str(each["port"])): each["port"]
                for each in spec.get("ports") or ()
            },
            external=tuple(each for each in external if each),
        )


@dataclass(frozen=True)
class Event:
    """Something that happened to an object.

    Attributes:
        about: `kind/name` of the object.
        at: when it was last seen, in RFC 3339; empty when that is not known.
    """

    about: str
    reason: str
    message: str
    at: str

    @classmethod
    def read(cls, item: Json) -> Event:
        about = item["involvedObject"]
        return cls(
            about=f"{about.get('kind', '')}/{about.get('name', '')}",
            reason=item.get("reason") or "",
            message=item.get("message") or "",
            at=item.get("lastTimestamp") or item.get("eventTime") or "",
        )

    def __str__(self) -> str:
        return f"{self.about} {self.reason}: {self.message}"


@dataclass(frozen=True)
class EndpointSlice:
    """Addresses behind a Service that are ready, and their ports."""

    meta: Meta
    addresses: tuple[str, ...]
    ports: tuple[int, ...]

    @classmethod
    def read(cls, item: Json) -> EndpointSlice:
        ready = [
            each
            for each in item.get("endpoints") or ()
            if (each.get("conditions") or {}).get("ready") is not False
        ]
        return cls(
            meta=Meta.read(item),
            addresses=tuple(address for each in ready for address in each["addresses"]),
            ports=tuple(each["port"] for each in item.get("ports") or () if each.get("port")),
        )


@dataclass(frozen=True)
class Secret:
    """A Secret with its decoded data, which `repr` leaves out."""

    meta: Meta
    data: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def read(cls, item: Json) -> Secret:
        data = item.get("data") or {}
        return cls(Meta.read(item), {key: decoded(value) for key, value in data.items()})


def encoded(data: Mapping[str, bytes]) -> Mapping[str, str]:
    """Data as a Secret has it."""
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def decoded(value: str) -> bytes:
    """A value of a Secret's data; empty where it is no base64."""
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""
