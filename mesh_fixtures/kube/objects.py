"""Objects of Kubernetes and Istio: only the fields that somebody asks for, typed.

Each `read` takes an object as the API server returns it (JSON). Source: Kubernetes API reference;
Istio, configuration reference.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

REGION_LABEL: Final = "topology.kubernetes.io/region"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"

Json = Mapping[str, Any]

NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""Label that every namespace has with its name (Kubernetes: Namespaces)."""


def texts(value: Mapping[str, Any] | None) -> Mapping[str, str]:
    """A map of texts, which the API server leaves out when it is empty."""
    return {str(key): str(each) for key, each in (value or {}).items()}


@dataclass(frozen=True)
class Meta:
    """What every object has.

    Attributes:
        namespace: empty for an object in none.
        created: RFC 3339; empty when that is not known.
    """

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    @classmethod
    def read(cls, item: Json) -> Meta:
        meta = item["metadata"]
        return cls(
            name=meta["name"],
            namespace=meta.get("namespace", ""),
            labels=texts(meta.get("labels")),
            annotations=texts(meta.get("annotations")),
            created=str(meta.get("creationTimestamp") or ""),
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def _condition(status: Json, kind: str) -> bool:
    """Whether a status has a condition of this kind that is true."""
    conditions: Iterable[Json] = status.get("conditions") or ()
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _literals(container: Json) -> Mapping[str, str]:
    """Variables of a container that have literal values."""
    return {each["name"]: each["value"] for each in container.get("env") or () if "value" in each}


@dataclass(frozen=True)
class Container:
    """A container that runs as long as its pod does.

    Attributes:
        image_id: what the kubelet runs, with a digest (Kubernetes API: ContainerStatus, imageID);
            empty before that.
        env: variables with literal values; those from fields, secrets or maps are left out.
        ready: as the kubelet last reported.
        running: it was started and has not ended, as the kubelet last reported.
        restarts: how often the kubelet started it again.
        waiting: why it does not run, e.g. `ImagePullBackOff`, with its message; empty
            when it runs or has ended.
        restarted: when its last run before this one ended, RFC 3339; empty for none.
        ended: how that run ended, e.g. `Error, exit code 1`, with its last words where it left
            some; empty for none.
        arguments: to its command.
        mounts: names of the pod's volumes, by where they are in its file system.
    """

    name: str
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    restarted: str = ""
    running: bool = False
    ended: str = ""
    arguments: tuple[str, ...] = ()
    image_id: str = ""
    mounts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pod:
    """A pod.

    Attributes:
        ip: of the primary family; empty while it has none.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        terminating: it is being deleted.
        ready: its Ready condition is true.
        containers: native sidecars, which are init containers that keep running, come first; init
            containers that end are left out.
        unscheduled: why no node takes it; empty when one does.
        host_network: whether it has no network of its own, but its node's.
        starting: init containers that end.
        pull_secrets: names of the secrets by which its images are pulled.
        further_ips: those of the other family.
        volumes: where the content of each comes from, as the API calls it: `emptyDir`, `csi`.
        config_maps: names of those without which it does not start, as its volumes have them.
    """

    meta: Meta
    ip: str
    phase: str
    terminating: bool
    ready: bool
    containers: tuple[Container, ...]
    unscheduled: str = ""
    service_account: str = ""
    host_network: bool = False
    starting: tuple[Container, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    further_ips: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    config_maps: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.meta.name

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of all families, the primary one first; none while it has none."""
        return tuple(each for each in (self.ip, *self.further_ips) if each)

    @property
    def serving(self) -> bool:
        """Running, ready and not going away."""
        return self.phase == "Running" and self.ready and not self.terminating

    @property
    def trouble(self) -> str:
        """Why it does not run, as far as its status says."""
        waiting = [f"{each.name}: {each.waiting}" for each in self.containers if each.waiting]
        return "; ".join([*([self.unscheduled] if self.unscheduled else []), *waiting])

    @property
    def ready_containers(self) -> int:
        return sum(container.ready for container in self.containers)

    @property
    def state(self) -> str:
        """As `kubectl get pods` would say it, e.g. `2/2 Running`."""
        phase = "Terminating" if self.terminating else self.phase
        return f"{self.ready_containers}/{len(self.containers)} {phase}"

    def container(self, name: str) -> Container | None:
        return _named(self.containers, name)

    @classmethod
    def read(cls, item: Json) -> Pod:
        spec, status = item["spec"], item.get("status", {})
        statuses = {
            each["name"]: each
            for key in ("initContainerStatuses", "containerStatuses")
            for each in status.get(key) or ()
        }
        initial = spec.get("initContainers") or ()
        sidecars = [each for each in initial if each.get("restartPolicy") == "Always"]
        lasting = (*sidecars, *(spec.get("containers") or ()))
        return cls(
            meta=Meta.read(item),
            ip=status.get("podIP", ""),
            phase=status.get("phase", "Unknown"),
            terminating="deletionTimestamp" in item["metadata"],
            ready=_condition(status, "Ready"),
            containers=tuple(_container(each, statuses) for each in lasting),
            unscheduled=_unscheduled(status),
            service_account=spec.get("serviceAccountName", ""),
            host_network=bool(spec.get("hostNetwork")),
            starting=tuple(_container(each, statuses) for each in initial if each not in sidecars),
            pull_secrets=tuple(each["name"] for each in spec.get("imagePullSecrets") or ()),
            further_ips=tuple(each["ip"] for each in status.get("podIPs") or ())[1:],
            volumes={each["name"]: _kind_of(each) for each in spec.get("volumes") or ()},
            config_maps=frozenset(
                mounted["name"]
                for each in spec.get("volumes") or ()
                if (mounted := each.get("configMap")) and not mounted.get("optional")
            ),
        )


def _kind_of(volume: Json) -> str:
    return next((key for key in volume if key != "name"), "emptyDir")


def _named(containers: Iterable[Container], name: str) -> Container | None:
    return next((each for each in containers if each.name == name), None)


def _unscheduled(status: Json) -> str:
    for each in status.get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return str(each.get("message") or each.get("reason", "unknown"))
    return ""


def _container(spec: Json, statuses: Mapping[str, Json]) -> Container:
    status = statuses.get(spec["name"], {})
    waiting = (status.get("state") or {}).get("waiting") or {}
    last = (status.get("lastState") or {}).get("terminated") or {}
    return Container(
        name=spec["name"],
        image=spec.get("image", ""),
        image_id=status.get("imageID", ""),
        env=_literals(spec),
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        waiting=": ".join(str(waiting[key]) for key in ("reason", "message") if waiting.get(key)),
        restarted=str(last.get("finishedAt") or ""),
        running="running" in (status.get("state") or {}),
        ended=_ended(last),
        arguments=tuple(spec.get("args") or ()),
        mounts={each["mountPath"]: each["name"] for each in spec.get("volumeMounts") or ()},
    )


def _ended(terminated: Json) -> str:
    if not terminated:
        return ""
    how = f"{terminated.get('reason') or 'ended'}, exit code {terminated.get('exitCode')}"
    words = str(terminated.get("message") or "").strip()
    return f"{how}: {words}" if words else how


@dataclass(frozen=True)
class Namespace:
    """A Namespace.

    Attributes:
        uid: tells it from a later one of the same name, and clusters from each other.
        remaining: what keeps it from going away, while it is being deleted.
        annotated: when somebody last set its annotations, as the API server remembers it, in
            RFC 3339; empty when unknown.
    """

    meta: Meta
    uid: str
    remaining: tuple[str, ...] = ()
    annotated: str = ""

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
            annotated=_annotated(item["metadata"]),
        )


def _annotated(meta: Json) -> str:
    times = [
        each.get("time", "")
        for each in meta.get("managedFields") or ()
        if "f:annotations" in ((each.get("fieldsV1") or {}).get("f:metadata") or {})
    ]
    return max(times, default="")


@dataclass(frozen=True)
class KubeNode:
    """A node and its place, of which localities are made.

    Attributes:
        pod_ranges: CIDRs that were given to it for its pods; none where the network assigns
            addresses by itself (Kubernetes: NodeSpec v1, podCIDRs).
    """

    name: str
    region: str
    zone: str
    ready: bool
    pod_ranges: tuple[str, ...] = ()

    @classmethod
    def read(cls, item: Json) -> KubeNode:
        meta = Meta.read(item)
        return cls(
            name=meta.name,
            region=meta.labels.get(REGION_LABEL, ""),
            zone=meta.labels.get(ZONE_LABEL, ""),
            ready=_condition(item.get("status", {}), "Ready"),
            pod_ranges=tuple(map(str, item.get("spec", {}).get("podCIDRs") or ())),
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
        containers: of its pods, as far as their template says.
        pod_labels: likewise.
        paused: whether its pods stay as they are, whatever becomes of their template.
    """

    meta: Meta
    wanted: int
    ready: int
    containers: tuple[Container, ...] = ()
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False

    @classmethod
    def read(cls, item: Json) -> Deployment:
        wanted = item["spec"].get("replicas", 1)
        ready = item.get("status", {}).get("readyReplicas", 0)
        template = item["spec"].get("template", {})
        pod = template.get("spec", {})
        containers = tuple(_container(each, {}) for each in pod.get("containers") or ())
        labels = texts(template.get("metadata", {}).get("labels"))
        paused = bool(item["spec"].get("paused"))
        return cls(Meta.read(item), int(wanted), int(ready), containers, labels, paused)

    def container(self, name: str) -> Container | None:
        return _named(self.containers, name)


@dataclass(frozen=True)
class ServicePort:
    """A port of a Service; name and protocol are empty where it does not say.

    Attributes:
        target: number or name of its pods' port; empty for the same number.
    """

    number: int
    name: str
    protocol: str
    target: str = ""


def is_external(kind: str, external: Sequence[str]) -> bool:
    """Whether a Service is to be reached from outside of its cluster.

    Args:
        kind: its type.
        external: as `Service.external`.
    """
    return kind == "LoadBalancer" or (bool(external) and kind != "ExternalName")


def are_selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether pods with these labels are behind a Service; an empty selector stands for none."""
    return bool(selector) and selector.items() <= labels.items()


@dataclass(frozen=True)
class Service:
    """A Service.

    Attributes:
        kind: ClusterIP, NodePort, LoadBalancer or ExternalName.
        selector: labels of its pods; empty where it has none and its endpoints are made otherwise.
        external: addresses or host names that its load balancer got, its external addresses, or
            its external name.
        cluster_ip: its address within the cluster; empty or `None` without.
    """

    meta: Meta
    kind: str
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    external: tuple[str, ...]
    cluster_ip: str = ""

    @property
    def is_external(self) -> bool:
        """Whether it is to be reached from outside of its cluster."""
        return is_external(self.kind, self.external)

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether it sends to pods of a namespace with these labels."""
        return namespace == self.meta.namespace and are_selected(labels, self.selector)

    @classmethod
    def read(cls, item: Json) -> Service:
        spec = item["spec"]
        ingress = item.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        external = [each.get("ip") or each.get("hostname", "") for each in ingress]
        external += [*(spec.get("externalIPs") or ()), spec.get("externalName", "")]
        meta = Meta.read(item)
        return cls(
            meta=meta,
            kind=spec.get("type", "ClusterIP"),
            selector=texts(spec.get("selector")),
            ports=tuple(
                ServicePort(
                    each["port"],
                    each.get("name", ""),
                    each.get("appProtocol", ""),
                    _target(each),
                )
                for each in spec.get("ports") or ()
            ),
            external=tuple(each for each in external if each),
            cluster_ip=spec.get("clusterIP", ""),
        )


@dataclass(frozen=True)
class ServiceExport:
    """That the Service of the same name is exported from its cluster.

    Attributes:
        conditions: type and status of each, e.g. `Valid` and `True`; empty where nothing but istiod
            takes notice of it.
    """

    meta: Meta
    conditions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, item: Json) -> ServiceExport:
        found = (item.get("status") or {}).get("conditions") or ()
        return cls(Meta.read(item), {each["type"]: str(each.get("status", "")) for each in found})


@dataclass(frozen=True)
class ServiceImport:
    """A Service of the cluster set, as a cluster knows it.

    Attributes:
        ips: addresses of its name in the cluster set.
    """

    meta: Meta
    ips: tuple[str, ...] = ()

    @classmethod
    def read(cls, item: Json) -> ServiceImport:
        return cls(Meta.read(item), tuple((item.get("spec") or {}).get("ips") or ()))


def _target(port: Json) -> str:
    target = port.get("targetPort", port["port"])
    return "" if target == port["port"] else str(target)


@dataclass(frozen=True)
class Event:
    """Something that happened to an object.

    Attributes:
        kind: Normal or Warning.
        about: `kind/name` of the object.
        at: when it was last seen, in RFC 3339; empty when that is not known.
    """

    kind: str
    about: str
    reason: str
    message: str
    at: str

    @classmethod
    def read(cls, item: Json) -> Event:
        about = item["involvedObject"]
        return cls(
            kind=item.get("type") or "",
            about=f"{about.get('kind', '')}/{about.get('name', '')}",
            reason=item.get("reason") or "",
            message=item.get("message") or "",
            at=item.get("lastTimestamp") or item.get("eventTime") or "",
        )

    def __str__(self) -> str:
        return f"{self.about} {self.reason}: {self.message}"


@dataclass(frozen=True)
class EndpointSlice:
    """Addresses behind a Service, and the ports there.

    Attributes:
        addresses: those that are ready.
        not_ready: the others.
        pods: of those that are ready, pods'.
    """

    meta: Meta
    addresses: tuple[str, ...]
    ports: tuple[int, ...] = ()
    not_ready: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()

    @classmethod
    def read(cls, item: Json) -> EndpointSlice:
        by_readiness: dict[bool, list[str]] = {True: [], False: []}
        pods: list[str] = []
        for each in item.get("endpoints") or ():
            is_ready = (each.get("conditions") or {}).get("ready") is not False
            by_readiness[is_ready] += each["addresses"]
            if is_ready and (each.get("targetRef") or {}).get("kind") == "Pod":
                pods += each["addresses"]
        return cls(
            meta=Meta.read(item),
            addresses=tuple(by_readiness[True]),
            ports=tuple(each["port"] for each in item.get("ports") or () if each.get("port")),
            not_ready=tuple(by_readiness[False]),
            pods=tuple(pods),
        )


@dataclass(frozen=True)
class Secret:
    """A Secret with its decoded data, which `repr` leaves out.

    Attributes:
        kind: its type, e.g. `kubernetes.io/dockerconfigjson`.
    """

    meta: Meta
    data: Mapping[str, bytes] = field(repr=False)
    kind: str = "Opaque"

    @classmethod
    def read(cls, item: Json) -> Secret:
        data = item.get("data") or {}
        return cls(
            Meta.read(item),
            {key: decoded(value) for key, value in data.items()},
            item.get("type") or "Opaque",
        )


def encoded(data: Mapping[str, bytes]) -> Mapping[str, str]:
    """Data as a Secret has it."""
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def decoded(value: str) -> bytes:
    """A value of a Secret's data; empty where it is no base64."""
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""


@dataclass(frozen=True)
class Configuration:
    """An object of Istio's configuration, or a policy of connections.

    Attributes:
        namespace: empty where it is in none.
        spec: of a policy of Cilium that consists of several: they, as `specs`.
    """

    kind: str
    namespace: str
    name: str
    spec: Mapping[str, Any]

    @classmethod
    def read(cls, kind: str, item: Json) -> Configuration:
        """Read one of a kind, which lists leave out."""
        meta = item["metadata"]
        several = {"specs": item["specs"]} if item.get("specs") else {}
        namespace = meta.get("namespace") or ""
        return cls(kind, namespace, meta["name"], item.get("spec") or several)

    def __str__(self) -> str:
        within = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {within}{self.name}"
