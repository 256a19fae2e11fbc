"""CONTROL-4: whether Istio's configuration can be changed.

API servers ask a webhook of istiod whether configuration is valid, and refuse all of it where the
webhook does not answer: what is there stays in use, and nobody can change it. So each API server
that has the mesh's configuration is tried with a rule, which nobody makes. Other webhooks and
policies may refuse it as they like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import NotAdmitted
from mesh_fixtures.kube import KubeEditor, Source
from mesh_fixtures.kube.admission import NO_DRY_RUN, Refusal, refusal_in
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import DESTINATION_RULES
from mesh_fixtures.lab.kubeconfig.refusals import is_of_mesh
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.workloads import SERVICE

SETTLING_SECONDS: Final = 15.0
"""For an istiod that has just started to answer."""

_NAME: Final = "mesh-conformance-dry-run"


@dataclass(frozen=True)
class TriedRule:
    """What an API server says of a rule that would be made.

    Attributes:
        refusal: None where it would be.
    """

    source: Source
    refusal: Refusal | None

    @property
    def is_unanswered(self) -> bool:
        """Whether it got no answer from the mesh's own webhook."""
        refusal = self.refusal
        return refusal is not None and refusal.is_unanswered and is_of_mesh(refusal, ())


def try_rule(view: MeshView, cluster: str) -> TriedRule:
    """Have an API server admit a DestinationRule in the workloads' namespace, and make nothing.

    Raises:
        NotAdmitted: the webhook of somebody else does not answer.
        ProbeError: the API server cannot be asked or does not permit it.
    """
    namespace = view.kube[cluster].sample_namespace
    rule: Json = {
        "apiVersion": DESTINATION_RULES.api,
        "kind": DESTINATION_RULES.kind,
        "metadata": {"name": _NAME},
        "spec": {"host": SERVICE},
    }
    asked = f"kubectl --context={cluster} -n {namespace} create --dry-run=server -f RULE.yaml"
    source = Source(cluster, f"{DESTINATION_RULES.plural} {namespace}", asked)
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        try:
            editor.dry_run(rule, namespace)
        except NotAdmitted as error:
            refusal = refusal_in(error.seen)
            if refusal.is_unanswered and not is_of_mesh(refusal, ()):
                raise
            return TriedRule(source, refusal)
    return TriedRule(source, None)


@dataclass(frozen=True)
class Probes:
    """How the mesh is tried."""

    try_rule: Callable[[MeshView, str], TriedRule] = try_rule


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view = mesh.view
    clusters = [name for name in mesh.scenario.config_clusters if name in view.kube]
    settled = settle(
        lambda: parallel_map(lambda name: probes.try_rule(view, name), clusters),
        lambda seen: not any(each.is_unanswered for each in seen.values()),
        deadline=mesh.patient(SETTLING_SECONDS),
        interval=0.5,
    )
    return Outcome.judged(_judged(settled.value), notes=_refused(settled.value))


def _judged(tried: Mapping[str, TriedRule]) -> Iterator[Finding]:
    for cluster, each in tried.items():
        if each.refusal is not None and each.is_unanswered:
            expected = "a DestinationRule to be admitted, or to be refused by who has looked at it"
            seen = each.refusal.message
            yield Finding(cluster, expected, seen, each.source, Subject((cluster,)))


def _refused(tried: Mapping[str, TriedRule]) -> Iterator[str]:
    for cluster, each in tried.items():
        if each.refusal is None or each.is_unanswered or NO_DRY_RUN in each.refusal.message:
            continue
        yield f"{cluster}: a DestinationRule of a run is not admitted: {each.refusal.message}"


REQUIREMENT = Requirement(
    id="CONTROL-4",
    level="extended",
    title=(
        "API servers with the mesh's configuration admit a change of it: the webhook by which "
        "istiod validates it, where there is one, answers."
    ),
    judge=judge,
    section="Configuration Validation Problems",
    url="https://istio.io/latest/docs/ops/common-problems/validation/",
    needs="sample",
    rests_on=("CONTROL-1",),
)
