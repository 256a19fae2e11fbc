"""Pods and their containers, as the probes see them. Source: Kubernetes, Pod v1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh_fixtures.kube.objects import Json, Meta, condition, literals


@dataclass(frozen=True)
class Container:
    """A container that runs as long as its pod does.

    Attributes:
        env: variables with literal values; those from fields, secrets or maps are left out.
        ready: as the kubelet last reported.
        restarts: how often the kubelet started it again.
        waiting: why it does not run, e.g. `ImagePullBackOff`, with what is said about it; empty
            when it runs or has ended.
        restarted: when its last run before this one ended, RFC 3339; empty for none.
    """

    name: str
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    restarted: str = ""


@dataclass(frozen=True)
class Pod:
    """A pod.

    Attributes:
        ip: empty while it has none.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        terminating: it is being deleted.
        ready: its Ready condition is true.
        containers: native sidecars, which are init containers that keep running, come first; init
            containers that end are left out.
        unscheduled: why no node takes it; empty when one does.
    """

    meta: Meta
    ip: str
    node: str
    phase: str
    terminating: bool
    ready: bool
    containers: tuple[Container, ...]
    unscheduled: str = ""
    service_account: str = ""

    @property
    def name(self) -> str:
        return self.meta.name

    @property
    def serving(self) -> bool:
        """Running, ready and not going away."""
        return self.phase == "Running" and self.ready and not self.terminating

    @property
    def ready_containers(self) -> int:
        return sum(container.ready for container in self.containers)

    @property
    def state(self) -> str:
        """As `kubectl get pods` would say it, e.g. `2/2 Running`."""
        phase = "Terminating" if self.terminating else self.phase
        return f"{self.ready_containers}/{len(self.containers)} {phase}"

    def container(self, name: str) -> Container | None:
        return next((each for each in self.containers if each.name == name), None)

    @classmethod
    def read(cls, item: Json) -> Pod:
        spec, status = item["spec"], item.get("status", {})
        statuses = {
            each["name"]: each
            for key in ("initContainerStatuses", "containerStatuses")
            for each in status.get(key) or ()
        }
        sidecars = [
            each
            for each in spec.get("initContainers") or ()
            if each.get("restartPolicy") == "Always"
        ]
        lasting = (*sidecars, *(spec.get("containers") or ()))
        return cls(
            meta=Meta.read(item),
            ip=status.get("podIP", ""),
            node=spec.get("nodeName", ""),
            phase=status.get("phase", "Unknown"),
            terminating="deletionTimestamp" in item["metadata"],
            ready=condition(status, "Ready"),
            containers=tuple(_container(each, statuses) for each in lasting),
            unscheduled=_unscheduled(status),
            service_account=spec.get("serviceAccountName", ""),
        )


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
        env=literals(spec),
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        waiting=": ".join(str(waiting[key]) for key in ("reason", "message") if waiting.get(key)),
        restarted=str(last.get("finishedAt") or ""),
    )
