"""Moves a mesh to other certificate authorities stage by stage while there is traffic, and back.

In each stage, every cluster's `cacerts` is replaced first, and istiod takes it over: anew, as it
reads roots when it starts only, or by itself where nothing but the intermediate changed. What it
signs lasts for a day, so that all pods with a proxy are restarted then, and hold what the stage is
about. After either, the mesh is judged by what must hold of trust at any time.

Sources: Istio, Plug in CA Certificates; pilot-discovery (`ISTIO_MULTIROOT_MESH`, which is off by
default: a root is read at the start); its release notes of `AUTO_RELOAD_PLUGIN_CERTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.objects import encoded
from mesh_fixtures.kube.resources import PODS, SECRETS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.certificates import ROOT_BUNDLE, Certificate, root_bundle
from mesh_fixtures.probe.continuous import ContinuousTraffic, Stream, TimedRequest
from mesh_fixtures.probe.identities import Identity, identities
from mesh_fixtures.probe.istiod import istiods, signing_until
from mesh_fixtures.probe.proxies import ProxyAnswers
from mesh_fixtures.probe.traffic import Failure
from mesh_fixtures.requirements import trust_1, trust_2
from mesh_fixtures.requirements.disruption import Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome
from mesh_fixtures.requirements.resilience_traffic import (
    CONVERGENCE_SECONDS,
    SLOWEST_SECONDS,
    WAITING_SECONDS,
    begin,
    combined,
    figures,
    judged,
    judged_while,
    now,
    overdue,
    watch,
)
from mesh_fixtures.requirements.restarted_workloads import (
    RESTARTED,
    RestartedWorkload,
    left,
    workloads,
)
from mesh_fixtures.requirements.rotation_stages import Files, Stage
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.continuity import Aftermath, aftermath
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject

TAKEN_OVER_SECONDS: Final = 120.0
"""Until every istiod signs with what it was given. Where it is not started anew, the kubelet brings
the secret to it when it next looks at its pod, after a minute and up to half of one more (source:
Kubernetes, KubeletConfiguration, syncFrequency)."""

RESTARTED_SECONDS: Final = 90.0
"""Until all pods of a Deployment are new ones: they start within seconds where their images are,
and the old ones have a termination grace of 30 s (Kubernetes' default)."""

REPLACED_SECONDS: Final = WAITING_SECONDS
"""Error budget of a client, in errored seconds, while gateways and HelloWorld are replaced: whoever
is about to use an old one when it ends may fail, as in an upgrade. Not one request may fail for the
sake of a certificate then, and none at all while nothing but authorities and other clients change.
"""

TRUST: Final = (trust_1.REQUIREMENT, trust_2.REQUIREMENT)
"""What must hold at any time."""

_REFUSALS: Final = ("TLS_error", "CERTIFICATE_VERIFY_FAILED", "UNKNOWN_CA")
"""In what Envoy answers for a peer with which no TLS connection comes about (source: Envoy,
transport failure reason)."""

_INTERVAL: Final = 0.5
_MOST_SECONDS: Final = int(TAKEN_OVER_SECONDS + RESTARTED_SECONDS + 4 * SLOWEST_SECONDS) + 60


# What becomes of it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagePart:
    """A part of a stage, and the requests meanwhile.

    Attributes:
        name: begins names of figures.
        title: what was done.
        begun: when.
        ended: when everything was as it is to be, or was waited for no longer.
        missing: what was not.
        budget: errored seconds that a client may have that was there before it.
        streams: of clients that were there before it.
        first: of those that were restarted by it.
    """

    name: str
    title: str
    begun: float
    ended: float
    missing: tuple[Finding, ...]
    budget: int
    streams: Mapping[str, Stream]
    first: Mapping[str, Stream] = field(default_factory=dict)

    def judged(self) -> Outcome:
        """Judge the requests, and whether it was done.

        Raises:
            ProbeError: too few were sent to tell.
        """
        findings = [*self.missing]
        measured: dict[str, Figure] = {f"{self.name}.seconds": round(self.ended - self.begun, 3)}
        latest = self.ended - self.begun + patient(CONVERGENCE_SECONDS)
        for client, stream in self.streams.items():
            seen = aftermath(stream.requests, self.begun)
            measured |= figures(f"{self.name}.{client}", seen)
            measured[f"{self.name}.{client}.errored_seconds_allowed"] = self.budget
            findings += self._unexpected(client, stream, seen)
            findings += overdue(stream, seen, latest, f"no error in the end, when {self.title}")
        for client, stream in self.first.items():
            seen = aftermath(stream.requests, -inf)
            measured[f"{self.name}.{client}.first_requests"] = seen.sent
            measured[f"{self.name}.{client}.first_failures"] = len(seen.failures)
            if seen.failures:
                expected = f"no error of a new client's first requests, when {self.title}"
                findings.append(Finding(client, expected, str(seen), stream.source))
        return judged({**self.streams, **self.first}, findings, measured)

    def _unexpected(self, client: str, stream: Stream, seen: Aftermath) -> Iterator[Finding]:
        refused = [each for each in seen.failures if is_refusal(each)]
        if refused:
            expected = f"no peer to be refused for its certificate, when {self.title}"
            what = f"{len(refused)} of {seen.sent} requests, the first: {refused[0].outcome}"
            yield Finding(client, expected, what, stream.source)
        elif seen.errored_seconds > self.budget:
            allowed = f"at most {self.budget} errored seconds" if self.budget else "no error"
            what = f"{seen.errored_seconds} errored seconds: {seen}"
            yield Finding(client, f"{allowed}, when {self.title}", what, stream.source)


def is_refusal(request: TimedRequest) -> bool:
    """Whether a request failed as no TLS connection came about."""
    outcome = request.outcome
    return isinstance(outcome, Failure) and any(each in outcome.message for each in _REFUSALS)


def trusting(change: str, outcomes: Mapping[str, Outcome]) -> Outcome:
    """Judge the state of a mesh after a change by what must hold of trust at any time.

    Args:
        change: its title.
        outcomes: by id of the requirement.
    """
    findings = [
        replace(each, expected=f"{requirement}: when {change}: {each.expected}")
        for requirement, outcome in outcomes.items()
        for each in outcome.findings
    ]
    troubles = [each.trouble for each in outcomes.values() if each.trouble is not None]
    if troubles and not findings:
        return Outcome.inconclusive(troubles[0])
    return Outcome.judged(findings)


def moved(
    stage: Stage, scenario: Scenario, held: Mapping[str, ProxyAnswers[Identity | None]]
) -> Outcome:
    """Judge whether all proxies hold what a stage is about, so that the next one may begin.

    Args:
        held: by cluster.
    """
    findings: list[Finding] = []
    for cluster, those in held.items():
        primary = scenario.control_plane_of(cluster)
        roots, issuing = stage.roots(primary), stage.issuing(primary)
        wanted = f"{issuing} and trust {len(roots)} roots, when {stage.title}"
        for proxy, seen in those.answered:
            own = None if seen is None else seen.issuing
            trusted = () if seen is None else seen.roots
            has_moved = own is not None and own.fingerprint == issuing.fingerprint
            if not has_moved or {each.fingerprint for each in trusted} != roots:
                expected = f"the proxy of {proxy} to hold a certificate of {wanted}"
                below = "no certificate" if own is None else f"one of {own}"
                what = f"{below}, and trust in {_listed(trusted)}"
                findings.append(_finding(cluster, expected, what))
    silent = [error for those in held.values() for _, error in those.silent]
    return Outcome.inconclusive(silent[0]) if silent and not findings else Outcome.judged(findings)


def _finding(cluster: str, expected: str, seen: str) -> Finding:
    return Finding(cluster, expected, seen, about=Subject((cluster,)))


def _listed(certificates: Iterable[Certificate]) -> str:
    return ", ".join(map(str, certificates)) or "none"


# What is done ------------------------------------------------------------------------------------


def rotated(mesh: ObservedMesh, given: Files, stages: Iterable[Stage]) -> Outcome:
    """Go through stages, and back to what was there, until something is not as it must be."""

    def parts(disruption: Disruption) -> Iterator[Outcome]:
        rotation = _Rotation(mesh, disruption, given)
        for stage in stages:
            yield rotation.authorities(stage)
            yield rotation.gateways(stage)
            yield rotation.servers(stage)
            for cluster in mesh.view.data_planes:
                yield rotation.clients(stage, cluster)
            yield moved(stage, mesh.scenario, mesh.view.each(identities))
        yield rotation.returned()

    return judged_while(mesh, "authorities", parts)


class _Rotation:
    """Goes from stage to stage, and back.

    Args:
        given: what was there.
    """

    def __init__(self, mesh: ObservedMesh, disruption: Disruption, given: Files) -> None:
        self._mesh = mesh
        self._view = mesh.view
        self._given = given
        self._primaries = [each.name for each in mesh.scenario.primaries]
        self._editors = {name: disruption.editor(name) for name in mesh.view.kube}
        disruption.undo_by("give all clusters their certificate authorities back", self._go_back)

    def authorities(self, stage: Stage) -> Outcome:
        """Give all clusters a stage's authorities."""
        change = self._changed(
            f"{stage.name}.authorities",
            f"{stage.title} ({CACERTS} and istiod)",
            lambda: self._give(stage),
            self._view.data_planes,
        )
        return self._judged(change)

    def gateways(self, stage: Stage) -> Outcome:
        """Restart gateways in all clusters: before HelloWorld, as in an upgrade, so that a request
        meets one pod at most that is about to end.
        """
        return self._replaced(stage, "gateways", lambda each: not each.is_sample)

    def servers(self, stage: Stage) -> Outcome:
        """Restart HelloWorld in all clusters."""
        return self._replaced(stage, "servers", lambda each: each.is_sample)

    def _replaced(
        self, stage: Stage, what: str, which: Callable[[RestartedWorkload], bool]
    ) -> Outcome:
        """Restart what requests go through, but for clients."""
        clusters = self._view.kube
        change = self._changed(
            f"{stage.name}.{what}",
            f"{stage.title} ({what})",
            lambda: self._restart(
                stage.name,
                clusters,
                lambda each: not each.is_istiod and not each.is_client and which(each),
            ),
            self._view.data_planes,
            budget=whole(REPLACED_SECONDS),
            afterwards=patient(CONVERGENCE_SECONDS),
        )
        return self._judged(change)

    def clients(self, stage: Stage, cluster: str) -> Outcome:
        """Restart Sleep of a cluster, while those of others send."""
        change = self._changed(
            f"{stage.name}.clients.{cluster}",
            f"{stage.title} (Sleep of {cluster})",
            lambda: self._restart(stage.name, [cluster], lambda each: each.is_client),
            [name for name in self._view.data_planes if name != cluster],
        )
        first = {} if change.missing else self._first_requests(cluster)
        return self._judged(replace(change, first=first))

    def returned(self) -> Outcome:
        """Give all clusters their own authorities back."""
        begun = now()
        self._go_back()
        return Outcome.judged((), {"seconds_to_return": round(now() - begun, 3)})

    def _changed(
        self,
        name: str,
        title: str,
        change: Callable[[], tuple[Finding, ...]],
        clients: Iterable[str],
        *,
        budget: int = 0,
        afterwards: float = 0.0,
    ) -> StagePart:
        """Change something while clients send requests.

        Args:
            change: returns what was not as it is to be in time.
            clients: clusters whose Sleep sends.
            afterwards: seconds for which requests still count after it, besides what the slowest
                one takes.
        """
        with self._traffic(clients) as traffic:
            begin(traffic)
            begun = now()
            missing = change()
            ended = now()
            watch(traffic, ended, afterwards + patient(SLOWEST_SECONDS))
            return StagePart(name, title, begun, ended, missing, budget, traffic.stop())

    def _traffic(self, clusters: Iterable[str]) -> ContinuousTraffic:
        return ContinuousTraffic(self._view, seconds=whole(_MOST_SECONDS), clusters=clusters)

    def _first_requests(self, cluster: str) -> Mapping[str, Stream]:
        """The first requests of a client that has just been started."""
        with self._traffic([cluster]) as traffic:
            watch(traffic, -inf, patient(SLOWEST_SECONDS))
            return traffic.stop()

    def _judged(self, change: StagePart) -> Outcome:
        """Judge a change, and the mesh after it."""
        self._mesh.forget()
        found = {each.id: each.check(self._mesh) for each in TRUST}
        self._mesh.forget()
        return combined([change.judged(), trusting(change.title, found)])

    def _give(self, stage: Stage) -> tuple[Finding, ...]:
        """Give all clusters a stage's authorities, and wait until all istiods use them.

        Returns:
            What they do not use in time.
        """
        for cluster, files in stage.files.items():
            system = self._view.kube[cluster].names.system_namespace
            change = {"data": encoded(files)}
            self._editors[cluster].patch(SECRETS, system, CACERTS, change)
        if stage.starts_anew:
            for primary in self._primaries:
                self._mark(primary, stage.name, lambda each: each.is_istiod)
        seconds = patient(TAKEN_OVER_SECONDS)
        settled = settle(
            lambda: self._view.each(partial(self._not_used, stage), self._primaries),
            lambda found: not any(found.values()),
            deadline=seconds,
            interval=_INTERVAL,
        )
        expected = f"istiod to use the {CACERTS} that it was given {seconds:g} s before, so that "
        return tuple(
            _finding(primary, f"{expected}{stage.title}", found)
            for primary, found in settled.value.items()
            if found
        )

    def _not_used(self, stage: Stage, kube: KubeClient) -> str:
        """What a primary's istiod does not use of a stage's authorities; empty for nothing."""
        if stage.starts_anew:
            for each in workloads(kube):
                pods = kube.list(PODS, each.namespace, each.selector)
                if each.is_istiod and (why := left(each, pods, stage.name)):
                    return f"{each}: {why}"
        wanted = stage.roots(kube.name)
        for cluster in self._view.data_planes:
            other = self._view.kube[cluster]
            if self._mesh.scenario.control_plane_of(cluster) != kube.name:
                continue
            for namespace in (other.names.system_namespace, other.sample_namespace):
                roots = root_bundle(other, namespace) or ()
                if {each.fingerprint for each in roots} != wanted:
                    handed_out = f"{_listed(roots)} in {ROOT_BUNDLE} of {namespace} in {cluster}"
                    return f"it hand out {handed_out}"
        issuing = stage.issuing(kube.name)
        for pod in istiods(kube):
            until = signing_until(kube, pod)
            if until != issuing.not_after.timestamp():
                ends = "unknown" if until is None else f"{datetime.fromtimestamp(until, UTC)}"
                return (
                    f"{pod.name} sign with a certificate that ends at {ends}, and not with "
                    f"{issuing}, which ends at {issuing.not_after}"
                )
        return ""

    def _restart(
        self, stage: str, clusters: Iterable[str], which: Callable[[RestartedWorkload], bool]
    ) -> tuple[Finding, ...]:
        """Restart workloads, and wait until all their pods are new.

        Args:
            stage: that they are restarted for; empty where they are to be as they were.

        Returns:
            Those that were not restarted in time.
        """
        marked = {cluster: self._mark(cluster, stage, which) for cluster in clusters}
        seconds = patient(RESTARTED_SECONDS)
        settled = settle(
            lambda: self._view.each(lambda kube: _left(kube, marked[kube.name], stage), marked),
            lambda found: not any(found.values()),
            deadline=seconds,
            interval=_INTERVAL,
        )
        return tuple(
            replace(
                _finding(
                    cluster, f"new pods only of {each} within {seconds:g} s of a restart", why
                ),
                about=Subject((cluster,), objects=(each.reference,)),
            )
            for cluster, found in settled.value.items()
            for each, why in found
        )

    def _mark(
        self, cluster: str, stage: str, which: Callable[[RestartedWorkload], bool]
    ) -> tuple[RestartedWorkload, ...]:
        """Have workloads of a cluster restart their pods, as `kubectl rollout restart` does."""
        found = tuple(each for each in workloads(self._view.kube[cluster]) if which(each))
        for each in found:
            if each.stage != stage:
                annotations = {RESTARTED: stage or None}
                change = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
                self._editors[cluster].patch(each.resource, each.namespace, each.name, change)
        return found

    def _go_back(self) -> None:
        """Have all as it was, with nothing left of any stage.

        Raises:
            ProbeError: it is not in time.
        """
        own = Stage("", "its own authorities sign again", self._given)
        missing = self._give(own) or self._restart(
            own.name, self._view.kube, lambda each: not each.is_istiod
        )
        if missing:
            raise ProbeError(
                wanted=missing[0].expected, seen=missing[0].seen, where=missing[0].cluster
            )


def _left(
    kube: KubeClient, marked: Iterable[RestartedWorkload], stage: str
) -> tuple[tuple[RestartedWorkload, str], ...]:
    """What keeps workloads from having been restarted, of those that were not."""
    found = [
        (each, left(each, kube.list(PODS, each.namespace, each.selector), stage)) for each in marked
    ]
    return tuple((each, why) for each, why in found if why)
