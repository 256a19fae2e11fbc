"""RESILIENCE-3: a primary's istiod is down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import DEPLOYMENTS, PODS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.continuous import ContinuousTraffic, Stream
from mesh_fixtures.probe.istiod import SELECTOR, istiods
from mesh_fixtures.probe.workloads import control_plane
from mesh_fixtures.requirements.disruption import RESTORE_SECONDS, Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.resilience_traffic import (
    SLOWEST_SECONDS,
    begin,
    figures,
    judged,
    judged_while,
    now,
    watch,
)
from mesh_fixtures.verdict.continuity import aftermath, versions
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding

DOWN_SECONDS: Final = 10.0
"""How long istiod is down. Proxies notice at once, as their connections end, and have asked for it
several times by then; what they hold does not expire before their certificates do, in hours. The
longer it lasts, the longer they wait before they ask again."""

END_SECONDS: Final = 45.0
"""For its pods to end: a second after their signal, as in a crash, or after the termination grace
of 30 s where something ended them before (Kubernetes' default)."""

ERROR_BUDGET: Final = 0
"""Requests that may fail: no pod that they depend on is touched (Istio: Deployment Models, control
plane models)."""

_GRACE_SECONDS: Final = 1
_MOST_SECONDS: Final = int(3 * SLOWEST_SECONDS + DOWN_SECONDS + END_SECONDS + RESTORE_SECONDS) + 30


def judge(mesh: ObservedMesh) -> Outcome:
    wanted = {cluster.helloworld for cluster in mesh.scenario.data_planes}
    names = [each.name for each in mesh.scenario.primaries]

    def parts(disruption: Disruption) -> Iterator[Outcome]:
        for primary in names:
            yield _outage(mesh, disruption, primary).judged(wanted)
            disruption.restore(primary)

    return judged_while(mesh, "istiod", parts)


@dataclass(frozen=True)
class Outage:
    """Requests while the istiod of a primary was down and when it came back.

    Attributes:
        change: when its pods were deleted.
        down: when its last pod had ended.
        back: when a new one was asked for.
    """

    primary: str
    streams: Mapping[str, Stream]
    change: float
    down: float
    back: float

    def judged(self, wanted: set[str]) -> Outcome:
        """Judge the requests.

        Args:
            wanted: versions of HelloWorld that must answer.
        """
        findings: list[Finding] = []
        measured: dict[str, Figure] = {
            f"{self.primary}.seconds_down": round(self.back - self.down, 3)
        }
        for client, stream in self.streams.items():
            seen = aftermath(stream.requests, self.change)
            measured |= figures(f"{self.primary}.{client}", seen)
            if len(seen.failures) > ERROR_BUDGET:
                expected = f"no error while istiod of {self.primary} is down and comes back"
                findings.append(Finding(client, expected, str(seen), stream.source))
            answers = versions(stream.requests, self.down, self.back)
            for version, count in answers.items():
                measured[f"{self.primary}.{client}.answers.{version}"] = count
            if set(answers) != wanted:
                expected = (
                    f"answers from {', '.join(sorted(wanted))} while istiod of {self.primary} "
                    "is down"
                )
                answered = ", ".join(answers) or "none"
                findings.append(Finding(client, expected, answered, stream.source))
        return judged(self.streams, findings, measured)


def _outage(mesh: ObservedMesh, disruption: Disruption, primary: str) -> Outage:
    """Take the istiod of a primary down, and bring it back."""
    kube = mesh.view.kube[primary]
    deployments = kube.list(DEPLOYMENTS, kube.names.system_namespace, SELECTOR)
    with ContinuousTraffic(mesh.view, seconds=whole(_MOST_SECONDS)) as traffic:
        begin(traffic)

        change = now()
        editor = disruption.editor(primary)
        for pod in istiods(kube):  # first, as a grace that has begun is not cut short everywhere
            editor.delete(PODS, pod.meta.namespace, pod.name, grace_seconds=_GRACE_SECONDS)
        for each in deployments:
            disruption.scale(primary, each, 0)
        _require_down(kube, patient(END_SECONDS))
        down = now()
        settle(traffic.so_far, lambda _: False, deadline=patient(DOWN_SECONDS), interval=1.0)
        _require_down(kube, 0.0)

        back = now()
        disruption.scale_back()
        settle(
            lambda: control_plane(kube),
            lambda seen: seen.is_running,
            deadline=patient(RESTORE_SECONDS),
            interval=0.5,
        )
        watch(traffic, now(), patient(SLOWEST_SECONDS))
        streams = traffic.stop()
    return Outage(primary, streams, change, down, back)


def _require_down(kube: KubeClient, seconds: float) -> None:
    """See to it that there is no istiod.

    Args:
        seconds: until then.

    Raises:
        ProbeError: there is one.
    """
    left = settle(lambda: istiods(kube), lambda pods: not pods, deadline=seconds, interval=0.25)
    if not left.accepted:
        raise ProbeError(
            wanted=f"no pod of istiod within {seconds:g} s",
            seen=", ".join(f"{pod.name} {pod.state}" for pod in left.value),
            where=kube.name,
            remedy="stop whatever recreates it while the mesh is verified",
        )


REQUIREMENT = Requirement(
    id="RESILIENCE-3",
    level="extended",
    title="While a primary's istiod is down, the existing configuration keeps working.",
    judge=judge,
    section="Deployment models: Control plane models",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#control-plane-models",
    needs="sample",
    rests_on=("TRAFFIC-2",),
    seconds=1200,
    disruptive=True,
)
