"""Upgrades a mesh by phases while there is traffic, and looks at it after each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf
from typing import Final

from mesh_fixtures import records
from mesh_fixtures.contract import Earlier, Lab
from mesh_fixtures.errors import LabError, MeshConformanceError, ProbeError, StepFailed
from mesh_fixtures.install.executor import run_in_lab
from mesh_fixtures.install.upgrade import (
    Kind,
    Phase,
    Version,
    rollback,
    trial,
    upgrade,
)
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import DEPLOYMENTS, PODS
from mesh_fixtures.options import Strategy
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.continuous import ContinuousTraffic, Stream
from mesh_fixtures.probe.gateways import gateways
from mesh_fixtures.probe.versions import IstioVersions, istio_versions
from mesh_fixtures.requirements.disruption import require_sound
from mesh_fixtures.requirements.observed import ObservedMesh, Upgrade
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.resilience_traffic import (
    CONVERGENCE_SECONDS,
    SLOWEST_SECONDS,
    WAITING_SECONDS,
    combined,
    figures,
    judged,
    now,
    overdue,
    watch,
)
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.continuity import aftermath, share_through
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding

ENDING_SECONDS: Final = 45.0
"""For the pods that a phase has replaced: their termination grace of 30 s (Kubernetes' default),
and what the kubelet needs."""

ERRORED_SECONDS: Final[Mapping[Kind, int]] = {
    "control-plane": 0,
    "gateway": WAITING_SECONDS,
    "servers": WAITING_SECONDS,
    "clients": 0,
    "removal": 0,
}
"""Error budget of a client in a phase of that kind. An istiod that is replaced, or removed when
nothing uses it, and another cluster's client concern no request. A gateway's and a server's pods
are replaced one after the other, so that some serve at any time; but whoever is about to use an old
one when it ends may fail, within the seconds that it takes until every proxy knows: as much as
RESILIENCE-2 allows beyond the time without a gateway."""

FIRST_REQUESTS: Final = 0
"""Requests of a client that has just become ready that may fail: it says that it can send."""

_BEFORE_AND_AFTER_SECONDS: Final = int(ENDING_SECONDS + CONVERGENCE_SECONDS) + 90
"""Most that traffic is watched in a phase, but for its steps."""

_NOT_ISTIOD: Final = "app!=istiod"
"""Selects what has no such label, too (Kubernetes: Labels and Selectors)."""

_FIRST_REQUESTS_SECONDS: Final = int(SLOWEST_SECONDS) + 60


@dataclass(frozen=True)
class SeenMesh:
    """A mesh after a phase.

    Attributes:
        versions: by cluster.
        gateways: as in `Performed`.
        core: what came of each requirement of `core`, by id.
    """

    versions: Mapping[str, IstioVersions]
    gateways: Mapping[str, frozenset[str]]
    core: Mapping[str, Outcome]


@dataclass(frozen=True)
class PassedPhase:
    """A phase, and the requests meanwhile.

    Attributes:
        begun: when its steps began.
        seconds: that they took.
        ended: when the pods that it replaced were gone.
        lingering: pods that were not gone in time.
        shares: of each client's requests that go through what it changes, where it is a gateway.
        streams: of clients that were there before it.
        first: of those that it has restarted.
    """

    phase: Phase
    begun: float
    seconds: float
    ended: float
    lingering: tuple[str, ...]
    shares: Mapping[str, Fraction]
    streams: Mapping[str, Stream]
    first: Mapping[str, Stream]
    seen: SeenMesh

    @property
    def name(self) -> str:
        """Begins the names of its figures."""
        return f"{self.phase.cluster}.{self.phase.name}"

    def judged(self) -> Outcome:
        """Judge the requests.

        Raises:
            ProbeError: too few were sent to tell.
        """
        measured: dict[str, Figure] = {f"{self.name}.seconds": round(self.seconds, 3)}
        findings = [*self._without_change(), *self._lingering()]
        for client, stream in self.streams.items():
            seen = aftermath(stream.requests, self.begun)
            measured |= figures(f"{self.name}.{client}", seen)
            budget = self._budget(client)
            measured[f"{self.name}.{client}.errored_seconds_allowed"] = budget
            what = self.phase.title
            if seen.errored_seconds > budget:
                expected = f"at most {budget} errored seconds in: {what}"
                errored = f"{seen.errored_seconds}: {seen}"
                findings.append(Finding(client, expected, errored, stream.source))
            convergence = patient(CONVERGENCE_SECONDS)
            expected = f"no error later than {convergence:g} s after: {what}"
            latest = self.ended - self.begun + convergence
            findings += overdue(stream, seen, latest, expected)
        for client, stream in self.first.items():
            seen = aftermath(stream.requests, -inf)
            name = f"{self.name}.{client}.first"
            measured[f"{name}_requests"] = seen.sent
            measured[f"{name}_failures"] = len(seen.failures)
            if len(seen.failures) > FIRST_REQUESTS:
                expected = f"no error of a new client's first requests after: {self.phase.title}"
                findings.append(Finding(client, expected, str(seen), stream.source))
        return judged({**self.streams, **self.first}, findings, measured)

    def _budget(self, client: str) -> int:
        if self.phase.kind == "gateway" and not self.shares.get(client):
            return 0
        return whole(ERRORED_SECONDS[self.phase.kind])

    def _without_change(self) -> Iterator[Finding]:
        for client, stream in self.streams.items():
            failed = [each for each in stream.requests if each.failed and each.ended <= self.begun]
            if failed:
                expected = f"no error before: {self.phase.title}"
                seen = f"{len(failed)}, the first: {failed[0].outcome}"
                yield Finding(client, expected, seen, stream.source)

    def _lingering(self) -> Iterator[Finding]:
        if self.lingering:
            expected = f"pods to be gone within {patient(ENDING_SECONDS):g} s that were replaced by"
            pods = ", ".join(self.lingering)
            yield Finding(self.phase.cluster, f"{expected}: {self.phase.title}", pods)

    def skewed(self) -> Outcome:
        """Judge the mesh after this phase by what must hold at any time."""
        measured: dict[str, Figure] = {
            f"{self.name}.after.{cluster}": str(each)
            for cluster, each in self.seen.versions.items()
        }
        after = f"after: {self.phase.title}: "
        findings = [
            replace(each, expected=f"{requirement}: {after}{each.expected}")
            for requirement, outcome in self.seen.core.items()
            for each in outcome.findings
        ]
        troubles = [each.trouble for each in self.seen.core.values() if each.trouble is not None]
        if troubles and not findings:
            return Outcome.inconclusive(troubles[0], measured)
        return Outcome.judged(findings, measured)


@dataclass(frozen=True)
class Performed:
    """An upgrade, or as much of it as was done.

    Attributes:
        wanted: the version that everything should have at the end.
        gateways: Deployments beside istiod's that were there before, by cluster.
        passed: its phases, in order.
        failed: the step that failed, after which nothing more was done.
    """

    wanted: str
    gateways: Mapping[str, frozenset[str]]
    passed: tuple[PassedPhase, ...]
    failed: Finding | None

    def judged(self, figures: Mapping[str, Figure]) -> Outcome:
        """Judge the requests in all phases, and what runs at the end.

        Args:
            figures: that are known besides.
        """
        outcomes = [Outcome.judged((), figures)]
        for each in self.passed:
            try:
                outcomes.append(each.judged())
            except ProbeError as trouble:
                outcomes.append(Outcome.inconclusive(trouble))
        if self.failed is not None:
            outcomes.append(Outcome.judged([self.failed]))
        else:
            last = self.passed[-1]
            outcomes.append(Outcome.judged(_of_other_versions(last.seen.versions, self.wanted)))
            outcomes.append(Outcome.judged(_lost(self.gateways, last.seen.gateways)))
            outcomes.append(last.skewed())
        return combined(outcomes)


def _of_other_versions(seen: Mapping[str, IstioVersions], wanted: str) -> Iterator[Finding]:
    for cluster, versions in seen.items():
        for kind, pods in {"istiod": versions.istiods, "proxies": versions.proxies}.items():
            others = [f"{pod} {version}" for pod, version in pods.items() if version != wanted]
            if others:
                expected = f"{kind} of {wanted} only, at the end"
                yield Finding(cluster, expected, ", ".join(others))


def _lost(
    before: Mapping[str, frozenset[str]], after: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    for cluster, names in before.items():
        if lost := names - after[cluster]:
            expected = f"{', '.join(sorted(names))} as before, at the end"
            yield Finding(cluster, expected, f"no {', '.join(sorted(lost))}")


def core(scenario: Scenario) -> tuple[Requirement, ...]:
    """What must hold after each phase: the core requirements that apply."""
    from mesh_fixtures.requirements import registry  # which imports those that are done here

    return tuple(each for each in registry.applicable(scenario) if each.level == "core")


def versions_of(lab: Lab) -> tuple[Version, Version]:
    """The version that a lab's mesh is upgraded from, and the one that it is upgraded to.

    Raises:
        ProbeError: it has one version only.
    """
    earlier: Earlier | None = lab.earlier
    if earlier is None:
        raise ProbeError(
            wanted="a mesh that can be upgraded",
            seen="one version of Istio",
            where=lab.scenario.id,
            remedy="name another one by --mesh-upgrade-from",
        )
    return Version(earlier.images, earlier.charts), Version(lab.images, lab.charts)


def upgraded(mesh: ObservedMesh) -> Performed:
    """The upgrade of a mesh, which is done when it is first asked for.

    Raises:
        ProbeError: it could not be observed, or the mesh was not sound to begin with.
        LabError: as when it was first asked for.
    """
    return mesh.once(_upgraded, lasting=True)


def rolled_back(mesh: ObservedMesh) -> Performed:
    """The first half of an upgrade by revision, and the way back.

    Raises:
        ProbeError: as `upgraded`.
        LabError: as `upgraded`.
    """
    return mesh.once(_rolled_back, lasting=True)


def _upgraded(mesh: ObservedMesh) -> Performed:
    old, new = versions_of(mesh.view.lab)
    order = _order(mesh)
    phases = upgrade(mesh.scenario, old, new, order.strategy)
    return _performed(mesh, order, phases, new.name, back=False)


def _rolled_back(mesh: ObservedMesh) -> Performed:
    old, new = versions_of(mesh.view.lab)
    phases = (*trial(mesh.scenario, old, new), *rollback(mesh.scenario, old, new))
    return _performed(mesh, _order(mesh), phases, old.name, back=True)


def figures_of(lab: Lab, strategy: Strategy) -> dict[str, Figure]:
    """What is upgraded, and how, as a report has it."""
    old, new = versions_of(lab)
    return {"from": old.name, "to": new.name, "strategy": strategy}


def _order(mesh: ObservedMesh) -> Upgrade:
    if mesh.upgrade is None:
        raise ProbeError(
            wanted="a mesh that is to be upgraded",
            seen="no --mesh-upgrade-from",
            where=mesh.scenario.id,
        )
    return mesh.upgrade


def _performed(
    mesh: ObservedMesh, order: Upgrade, phases: Iterable[Phase], version: str, *, back: bool
) -> Performed:
    """Do one phase after the other, until a step fails.

    Whatever keeps it from its end leaves the mesh half-way, of which nothing more can be learnt.

    Args:
        version: that it leads to.
        back: whether that is the one that was there before.
    """
    require_sound(mesh, "to upgrade")
    old = mesh.view.each(istio_versions)
    records.mark_upgraded(mesh.view.lab.folder)
    before = mesh.view.each(_gateways)
    passed: list[PassedPhase] = []
    try:
        for phase in phases:
            passed.append(_passed(mesh, order, phase))
    except StepFailed as error:
        mesh.taint(_half_way(mesh, error))
        failed = Finding(phase.cluster, f"step {error.step} of the upgrade to succeed", str(error))
        return Performed(version, before, tuple(passed), failed)
    except MeshConformanceError as error:
        mesh.taint(_half_way(mesh, error))
        raise
    wanted = called(version, old, passed[-1].seen.versions, back=back)
    return Performed(wanted, before, tuple(passed), None)


def called(
    version: str,
    before: Mapping[str, IstioVersions],
    after: Mapping[str, IstioVersions],
    *,
    back: bool,
) -> str:
    """What the images of a version call it: they may be of another build than what installs them.

    Args:
        version: as what installs it says.
        before: what ran before it was installed, by cluster.
        after: what runs since.
        back: whether it ran before already.
    """
    old, new = ({v for each in seen.values() for v in each.all} for seen in (before, after))
    candidates = old if back else new - old
    return next(iter(candidates)) if len(candidates) == 1 else version


def _half_way(mesh: ObservedMesh, error: MeshConformanceError) -> LabError:
    return LabError(
        wanted="an upgrade that came to its end",
        seen=f"{error.where}: {error.seen}",
        where=f"{mesh.scenario.id} ({mesh.view.lab.id})",
        remedy="see the requirements of the upgrade; to look at the lab, --mesh-keep failed",
    )


def _passed(mesh: ObservedMesh, order: Upgrade, phase: Phase) -> PassedPhase:
    lab = mesh.view.lab
    kube = mesh.view.kube[phase.cluster]
    restarted = [phase.cluster] if phase.kind == "clients" else []
    clients = [name for name in mesh.view.data_planes if name not in restarted]
    shares = _shares(mesh, kube) if phase.kind == "gateway" else {}
    steps = sum(int(step.deadline) for step in phase.plan.steps)
    most = whole(steps + _BEFORE_AND_AFTER_SECONDS)
    with ContinuousTraffic(mesh.view, seconds=most, clusters=clients) as traffic:
        watch(traffic, -inf, patient(SLOWEST_SECONDS))
        begun = now()
        run_in_lab(phase.plan, lab, order.progress)
        done = now()
        gone = settle(
            lambda: _going(kube),
            lambda pods: not pods,
            deadline=patient(ENDING_SECONDS),
            interval=0.5,
        )
        ended = now()
        watch(traffic, ended, patient(CONVERGENCE_SECONDS + SLOWEST_SECONDS))
        streams = traffic.stop()
    mesh.forget()
    first = _first_requests(mesh, restarted) if restarted else {}
    seen = _seen(mesh)
    return PassedPhase(phase, begun, done - begun, ended, gone.value, shares, streams, first, seen)


def _going(kube: KubeClient) -> tuple[str, ...]:
    """Pods of the mesh that are being deleted."""
    return tuple(
        str(pod.meta)
        for namespace in (kube.names.system_namespace, kube.sample_namespace)
        for pod in kube.list(PODS, namespace)
        if pod.terminating
    )


def _gateways(kube: KubeClient) -> frozenset[str]:
    """Names of the Deployments of the system namespace but istiod's."""
    found = kube.list(DEPLOYMENTS, kube.names.system_namespace, _NOT_ISTIOD)
    return frozenset(each.meta.name for each in found)


def _shares(mesh: ObservedMesh, kube: KubeClient) -> Mapping[str, Fraction]:
    addresses = [address for gateway in gateways(kube) for address in gateway.addresses]
    return {client: share_through(each.seen, addresses) for client, each in mesh.endpoints.items()}


def _first_requests(mesh: ObservedMesh, clusters: list[str]) -> Mapping[str, Stream]:
    """The first requests of clients that have just been started."""
    most = whole(_FIRST_REQUESTS_SECONDS)
    with ContinuousTraffic(mesh.view, seconds=most, clusters=clusters) as traffic:
        watch(traffic, -inf, patient(SLOWEST_SECONDS))
        return traffic.stop()


def _seen(mesh: ObservedMesh) -> SeenMesh:
    found = parallel_map(lambda each: each.check(mesh), core(mesh.scenario))
    versions, there = mesh.view.each(istio_versions), mesh.view.each(_gateways)
    mesh.forget()
    outcomes = {requirement.id: outcome for requirement, outcome in found.items()}
    return SeenMesh(versions, there, outcomes)
