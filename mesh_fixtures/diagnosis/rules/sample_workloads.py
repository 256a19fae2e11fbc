"""HelloWorld and Sleep: their Services, and pods to serve them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from mesh_fixtures.diagnosis.alike import distinct, gist
from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Evidence,
    Kind,
    Layer,
    get,
    listed,
)
from mesh_fixtures.diagnosis.facts import (
    NOT_STARTING,
    ClusterFacts,
    Deployment,
    Pod,
    WarningEvent,
)
from mesh_fixtures.diagnosis.rules import cluster_health, sidecar_injection
from mesh_fixtures.install import ids
from mesh_fixtures.scenario import ClusterSpec
from mesh_fixtures.verdict.findings import Subject
from mesh_fixtures.workloads import NO_INJECTION, PORT

SERVICE_MISSING = Kind(
    "service-missing", Layer.WORKLOAD, ("DISCOVERY-2", "TRAFFIC-1"), reach=CauseReach.INVOLVED
)
SELECTOR = Kind("service-selector-mismatch", Layer.WORKLOAD, ("DISCOVERY-2", "TRAFFIC-1"))
PORT_NAME = Kind(
    "service-port-name-missing",
    Layer.WORKLOAD,
    ("DISCOVERY-2", "TRAFFIC-1", "TRAFFIC-2", "SECURITY-1", "AUTHZ-1"),
)
PORT_MISSING = Kind("service-port-missing", Layer.WORKLOAD, ("DISCOVERY-2", "TRAFFIC-1"))
SCALED = Kind("workload-scaled-to-zero", Layer.WORKLOAD, ("WORKLOAD-1", "DISCOVERY-2", "TRAFFIC-1"))
MISSING = Kind("workload-missing", Layer.WORKLOAD, ("WORKLOAD-1",))
PAUSED = Kind(
    "rollout-paused",
    Layer.WORKLOAD,
    ("ROTATION-1", "ROTATION-2", "ROLLBACK-1", "UPGRADE-1", "UPGRADE-2"),
)
NOT_READY = Kind(
    "workload-not-ready",
    Layer.WORKLOAD,
    ("WORKLOAD-1",),
    (
        *(
            *sidecar_injection.FAILING.follows,
            sidecar_injection.FAILING.id,
            sidecar_injection.TEMPLATE.id,
            "different-roots",
            "cacerts-missing",
            "root-bundle-missing",
        ),
        *(cluster_health.DNS.id, cluster_health.COMPONENT.id),
    ),
)

_PROTOCOLS = ("http", "http2", "https", "tcp", "tls", "grpc", "grpc-web", "mongo", "mysql", "redis")
"""Prefixes of port names that Istio knows (Istio: Protocol Selection)."""

_EVIDENCE_KEPT = 12


def services(case: Case) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        if facts.services is None or not case.samples:
            continue
        service = facts.service(case.samples, "helloworld")
        show = get(spec.name, "services -o yaml", case.samples)
        step = ids.helloworld_service(spec.name)
        if service is None:
            yield Cause(
                SERVICE_MISSING,
                (spec.name,),
                f"{spec.name} has no Service helloworld in {case.samples}: its clients do not find "
                "the name, and its pods are no endpoints for anybody",
                (Evidence("no service helloworld", show),),
                f"create the Service in every cluster (step {step} of the runbook)",
                step=step,
            )
            continue
        pods = facts.pods_in(case.samples, {"app": "helloworld"})
        selected = any(service.selector.items() <= pod.labels.items() for pod in pods)
        if pods and not selected and not _is_known(case, spec.name):
            selector = listed([f"{key}={value}" for key, value in service.selector.items()])
            yield Cause(
                SELECTOR,
                (spec.name,),
                f"the Service helloworld of {spec.name} selects {selector}, which none of its pods "
                "has",
                (Evidence(f"selector {selector}", show),),
                f"let it select app=helloworld (step {step} of the runbook)",
                step=step,
            )
        port = next((each for each in service.ports if each.number == PORT), None)
        if port is None:
            numbers = listed([each.number for each in service.ports])
            yield Cause(
                PORT_MISSING,
                (spec.name,),
                f"the Service helloworld of {spec.name} has no port {PORT}, but {numbers}",
                (Evidence(f"ports {numbers}", show),),
                f"give it port {PORT} (step {step} of the runbook)",
                step=step,
            )
        elif not port.protocol and port.name.partition("-")[0] not in _PROTOCOLS:
            named = f"is named {port.name}" if port.name else "has no name"
            yield Cause(
                PORT_NAME,
                (spec.name,),
                f"port {PORT} of the Service helloworld of {spec.name} {named} and has no "
                "appProtocol, so istiod does not know that it is HTTP",
                (Evidence(f"port {PORT} {named}", show),),
                f"name it http, or set appProtocol: http (step {step} of the runbook)",
                certainty="likely",
                step=step,
            )


def pods(case: Case) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        if facts.deployments is None or not case.samples:
            continue
        for name, step in (
            (f"helloworld-{spec.helloworld}", ids.helloworld(spec.name)),
            ("sleep", ids.sleep(spec.name)),
        ):
            deployment = facts.deployment(case.samples, name)
            show = get(spec.name, "deployments,pods", case.samples)
            if deployment is None and not _has_pods(case, facts, name):
                yield Cause(
                    MISSING,
                    (spec.name,),
                    f"{spec.name} has no deployment {name} in {case.samples}",
                    (Evidence(f"no deployment {name}", show),),
                    f"deploy it (step {step} of the runbook)",
                    step=step,
                )
            elif deployment is None:
                continue
            elif deployment.wanted == 0:
                yield Cause(
                    SCALED,
                    (spec.name,),
                    f"{name} of {spec.name} is scaled to 0",
                    (Evidence(str(deployment), show),),
                    f"kubectl --context={spec.name} -n {case.samples} scale deployment/{name} "
                    "--replicas=1",
                )


def paused(case: Case) -> Iterator[Cause]:
    """Deployments that replace no pod until they are resumed. Nothing is wrong with that until
    their pods must be restarted.
    """
    for spec, facts in case.clusters:
        for each in facts.deployments or ():
            if each.paused and not NO_INJECTION.items() <= each.pod_labels.items():
                show = get(spec.name, f"deployment {each.name} -o yaml", each.namespace)
                resume = f"rollout resume deployment/{each.name}"
                yield Cause(
                    PAUSED,
                    (spec.name,),
                    f"the Deployment {each.namespace}/{each.name} of {spec.name} is paused: its "
                    "pods are not replaced, and keep the certificates and the proxies that they "
                    "have",
                    (Evidence("spec.paused is true", show),),
                    f"resume it: kubectl --context={spec.name} -n {each.namespace} {resume}",
                    about=Subject(
                        (spec.name,), objects=(f"Deployment/{each.namespace}/{each.name}",)
                    ),
                )


def not_ready(case: Case) -> Iterator[Cause]:
    """Workloads whose pods are not made or do not become ready: once for each reason."""
    alike: dict[tuple[bool, str], list[_NotReady]] = {}
    for spec, facts in case.clusters:
        for name in (f"helloworld-{spec.helloworld}", "sleep"):
            deployment = facts.deployment(case.samples, name)
            if deployment is not None and deployment.ready < deployment.wanted:
                found = _NotReady.of(case, spec, facts, deployment)
                alike.setdefault((spec.is_primary, gist(found.why)), []).append(found)
    for (is_primary, _), those in alike.items():
        yield _not_ready(case, is_primary, those)


@dataclass(frozen=True)
class _NotReady:
    """A workload that is not ready, and what its pods and events say of it."""

    cluster: str
    deployment: Deployment
    pods: tuple[Pod, ...]
    warnings: tuple[WarningEvent, ...]

    @classmethod
    def of(
        cls, case: Case, spec: ClusterSpec, facts: ClusterFacts, deployment: Deployment
    ) -> _NotReady:
        beginning = f"{deployment.name}-"
        return cls(
            spec.name,
            deployment,
            tuple(
                pod
                for pod in facts.pods_in(case.samples, {})
                if pod.name.startswith(beginning) and not pod.serving
            ),
            tuple(
                each
                for each in facts.warned(case.samples, *NOT_STARTING)
                if each.about.partition("/")[2].startswith(beginning)
            ),
        )

    @property
    def why(self) -> str:
        """What a pod's status says, else the newest event, else the pods' state.

        That a pod does not answer its probes says least.
        """
        troubles = [pod.trouble for pod in self.pods if pod.trouble]
        ranked = sorted(self.warnings, key=lambda each: each.reason == "Unhealthy")
        events = [f"{each.reason}: {each.message}" for each in ranked]
        states = listed(sorted({pod.state for pod in self.pods}), "no pod")
        return [*troubles, *events, states][0]

    @property
    def evidence(self) -> Iterator[Evidence]:
        namespace = self.deployment.namespace
        show = get(self.cluster, "deployments,pods", namespace)
        yield Evidence(f"{self.cluster}: {self.deployment}", show)
        for pod in self.pods:
            yield Evidence(f"{self.cluster}: pod {pod}", show)
        for each in distinct(self.warnings):
            yield Evidence(f"{self.cluster}: {each}", get(self.cluster, "events", namespace))


def _not_ready(case: Case, is_primary: bool, those: Sequence[_NotReady]) -> Cause:
    own = (
        *("istiod-not-running", "different-roots", "cacerts-missing", "root-bundle-missing"),
        *(sidecar_injection.FAILING.id, sidecar_injection.TEMPLATE.id),
        *(cluster_health.DNS.id, cluster_health.COMPONENT.id),
    )
    clusters = tuple(dict.fromkeys(each.cluster for each in those))
    primaries = tuple(case.scenario.control_plane_of(each) for each in clusters)
    names: dict[str, list[str]] = {}
    for each in those:
        names.setdefault(each.cluster, []).append(each.deployment.name)
    which = "; ".join(f"{listed(found)} of {cluster}" for cluster, found in names.items())
    verb = "is" if len(those) == 1 else "are"
    return Cause(
        NOT_READY.following(*own) if is_primary else NOT_READY,
        tuple(dict.fromkeys((*clusters, *primaries))),
        f"{which} {verb} not ready: {those[0].why}",
        tuple(islice((seen for each in those for seen in each.evidence), _EVIDENCE_KEPT)),
        f"repair what its pods and events say: kubectl --context={clusters[0]} -n {case.samples} "
        "describe pods",
        certainty="likely",
        about=Subject(clusters),
    )


RULES = (services, pods, paused, not_ready)


def _is_known(case: Case, cluster: str) -> bool:
    """Whether an istiod knows pods of HelloWorld in a cluster, however they got to be endpoints."""
    return any(
        pod.cluster == cluster
        for facts in case.facts.clusters.values()
        for istiod in facts.istiods or ()
        for pod in istiod.helloworld or ()
    )


def _has_pods(case: Case, facts: ClusterFacts, name: str) -> bool:
    """Whether pods of a workload serve, whatever made them."""
    app, _, version = name.partition("-")
    labels = {"app": app, "version": version} if version else {"app": app}
    return any(pod.serving for pod in facts.pods_in(case.samples, labels))
