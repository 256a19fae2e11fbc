"""HelloWorld and Sleep: their Services, and pods to serve them."""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, Reach, get, listed
from mesh_fixtures.diagnosis.facts import ClusterFacts, Deployment
from mesh_fixtures.diagnosis.rules import cluster_health, sidecar_injection
from mesh_fixtures.install import ids
from mesh_fixtures.scenario import ClusterSpec
from mesh_fixtures.verdict.findings import Subject
from mesh_fixtures.workloads import PORT

SERVICE_MISSING = Kind(
    "service-missing", Layer.WORKLOAD, ("DISCOVERY-2", "TRAFFIC-1"), reach=Reach.INVOLVED
)
SELECTOR = Kind("service-selector-mismatch", Layer.WORKLOAD, ("DISCOVERY-2", "TRAFFIC-1"))
PORT_NAME = Kind(
    "service-port-name-missing",
    Layer.WORKLOAD,
    ("DISCOVERY-2", "TRAFFIC-1", "TRAFFIC-2", "SECURITY-1"),
)
PORT_MISSING = Kind("service-port-missing", Layer.WORKLOAD, ("DISCOVERY-2", "TRAFFIC-1"))
SCALED = Kind("workload-scaled-to-zero", Layer.WORKLOAD, ("WORKLOAD-1", "DISCOVERY-2", "TRAFFIC-1"))
MISSING = Kind("workload-missing", Layer.WORKLOAD, ("WORKLOAD-1",))
NOT_READY = Kind(
    "workload-not-ready",
    Layer.WORKLOAD,
    ("WORKLOAD-1",),
    (
        *(
            *sidecar_injection.FAILING.follows,
            sidecar_injection.FAILING.id,
            "different-roots",
            "cacerts-missing",
            "root-bundle-missing",
        ),
        *(cluster_health.DNS.id, cluster_health.COMPONENT.id),
    ),
)

_PROTOCOLS = ("http", "http2", "https", "tcp", "tls", "grpc", "grpc-web", "mongo", "mysql", "redis")
"""Prefixes of port names that Istio knows (Istio: Protocol Selection)."""

_TROUBLE = ("FailedCreate", "BackOff", "Failed", "Unhealthy", "FailedScheduling")


def services(case: Case) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        if facts.services is None:
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
        if pods and not any(service.selector.items() <= pod.labels.items() for pod in pods):
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
        if facts.deployments is None:
            continue
        for name, step in (
            (f"helloworld-{spec.helloworld}", ids.helloworld(spec.name)),
            ("sleep", ids.sleep(spec.name)),
        ):
            deployment = facts.deployment(case.samples, name)
            show = get(spec.name, "deployments,pods", case.samples)
            if deployment is None:
                yield Cause(
                    MISSING,
                    (spec.name,),
                    f"{spec.name} has no deployment {name} in {case.samples}",
                    (Evidence(f"no deployment {name}", show),),
                    f"deploy it (step {step} of the runbook)",
                    step=step,
                )
            elif deployment.wanted == 0:
                yield Cause(
                    SCALED,
                    (spec.name,),
                    f"{name} of {spec.name} is scaled to 0",
                    (Evidence(str(deployment), show),),
                    f"kubectl --context={spec.name} -n {case.samples} scale deployment/{name} "
                    "--replicas=1",
                )
            elif deployment.ready < deployment.wanted:
                yield _not_ready(case, spec, facts, deployment)


def _not_ready(case: Case, spec: ClusterSpec, facts: ClusterFacts, of: Deployment) -> Cause:
    found = [
        pod
        for pod in facts.pods_in(case.samples, {})
        if pod.name.startswith(f"{of.name}-") and not pod.serving
    ]
    warnings = [
        each for each in facts.warned(case.samples, *_TROUBLE) if f"/{of.name}" in each.about
    ]
    why = warnings[0].message if warnings and not found else listed(found, "no pod")
    show = get(spec.name, "deployments,pods", case.samples)
    own = (
        *("istiod-not-running", "different-roots", "cacerts-missing", "root-bundle-missing"),
        sidecar_injection.FAILING.id,
        *(cluster_health.DNS.id, cluster_health.COMPONENT.id),
    )
    return Cause(
        NOT_READY.following(*own) if spec.is_primary else NOT_READY,
        (spec.name, case.scenario.control_plane_of(spec.name)),
        f"{of.name} of {spec.name} is not ready: {why}",
        (
            Evidence(str(of), show),
            *(Evidence(f"pod {pod}", show) for pod in found),
            *(Evidence(str(each), get(spec.name, "events", case.samples)) for each in warnings[:3]),
        ),
        f"mend what its pods and events say: kubectl --context={spec.name} -n {case.samples} "
        "describe pods",
        certainty="likely",
        about=Subject((spec.name,)),
    )


RULES = (services, pods)
