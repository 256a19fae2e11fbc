"""API servers that tell nothing of their clusters."""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Rung

UNRESPONSIVE = Kind(
    "api-server-unresponsive",
    Rung.UNDERLAY,
    (
        "TRUST-1",
        "CONTROL-1",
        "CONTROL-2",
        "CONTROL-3",
        "DISCOVERY-1",
        "GATEWAY-1",
        "WORKLOAD-1",
        "NETWORK-1",
    ),
)

_SHOWN = 3


def unresponsive(case: Case) -> Iterator[Cause]:
    """Nothing could be read of a cluster, and not for want of permission."""
    for spec, facts in case.clusters:
        lists = (facts.namespaces, facts.pods, facts.services, facts.deployments)
        unread = [each for each in case.facts.unread if each.cluster == spec.name]
        if any(each is not None for each in lists) or not unread:
            continue
        if any("forbidden" in each.why.lower() for each in unread):
            continue
        yield Cause(
            UNRESPONSIVE,
            (spec.name,),
            f"the API server of {spec.name} does not answer: {unread[0].why}",
            tuple(Evidence(each.why, each.source) for each in unread[:_SHOWN]),
            f"see whether it runs and is reached from here: kubectl --context={spec.name} get "
            "--raw=/readyz?verbose; look at its log, and at etcd's",
        )


RULES = (unresponsive,)
