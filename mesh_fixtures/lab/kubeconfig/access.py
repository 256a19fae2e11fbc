"""Whether clusters answer and permit what a run asks of them, before anything is made there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mesh_fixtures.contract import Cluster, Problem
from mesh_fixtures.errors import MachineError, ProbeError
from mesh_fixtures.kube import Access, KubeClient
from mesh_fixtures.lab.kubeconfig import contents
from mesh_fixtures.lab.kubeconfig.permissions import RULES, Rule
from mesh_fixtures.lab.kubeconfig.reference import Reference
from mesh_fixtures.parallel import parallel_map

_REMEDY: Final = (
    "mesh-conformance rbac prints the roles that permit all; "
    "somebody who may make roles there applies them by kubectl apply -f -"
)
_AT_A_TIME: Final = 8


def problems(references: Iterable[Reference]) -> Sequence[Problem]:
    """What a run on these clusters lacks, in their order; changes nothing."""
    try:
        with contents.clusters(references) as clusters:
            found = parallel_map(lambda name: _problems_of(clusters[name]), clusters)
    except MachineError as error:
        return [Problem(f"{error.wanted} ({error.where})", error.remedy, error.seen)]
    return [problem for each in found.values() for problem in each]


def _problems_of(cluster: Cluster) -> Sequence[Problem]:
    try:
        with KubeClient(cluster) as kube:
            refused = denied(kube)
    except ProbeError as error:
        missing = f"an API server of {cluster.name} that answers"
        return [Problem(missing, error.remedy or "see what kubectl says of it", error.seen)]
    return [_not_permitted(cluster.name, rule, those) for rule, those in refused.items()]


def denied(kube: KubeClient) -> Mapping[Rule, Sequence[Access]]:
    """What a cluster does not permit, by rule; empty when it permits all.

    Raises:
        ProbeError: it does not say.
    """
    asked = [(rule, access) for rule in RULES for access in rule.accesses]
    answers = parallel_map(lambda each: kube.may(each[1]), asked, at_most=_AT_A_TIME)
    found: dict[Rule, list[Access]] = {}
    for (rule, access), permitted in answers.items():
        if not permitted:
            found.setdefault(rule, []).append(access)
    return found


def _not_permitted(cluster: str, rule: Rule, accesses: Sequence[Access]) -> Problem:
    wanted = ", ".join(f"{each.verb} {each.resource}" for each in accesses)
    where = {"cluster": "", "own": " in its own namespace", "system": " in istio-system"}
    names = f" {', '.join(rule.names)}" if rule.names else ""
    return Problem(
        missing=f"permission in {cluster} to {wanted}{names}{where[rule.scope]}",
        remedy=_REMEDY,
        seen=f"no permission; by hand: kubectl auth {accesses[0]}",
        without=rule.without,
    )
