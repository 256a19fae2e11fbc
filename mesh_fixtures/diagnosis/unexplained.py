"""The cause of what no rule explains: everything unusual that was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Final

from mesh_fixtures.diagnosis.case import Case, get, listed
from mesh_fixtures.diagnosis.cause import UNKNOWN, Cause, Evidence, Kind, Rung

KIND: Final = Kind(UNKNOWN, Rung.UNEXPLAINED, ())

_EACH: Final = 4
"""Pieces of evidence of one sort that are kept."""


def unexplained(case: Case, requirements: Sequence[str], trouble: str = "") -> Cause:
    """A cause that is not known, with the evidence that was gathered.

    Args:
        requirements: those that nothing explains; empty for a step of the installation.
        trouble: what the step said.
    """
    what = f"{listed(requirements)} not being met" if requirements else "the failure of the step"
    seen = [
        *islice(_findings(case, requirements), 2 * _EACH),
        *([Evidence(trouble)] if trouble else []),
        *chain.from_iterable(
            islice(source(case), _EACH)
            for source in (
                _paths,
                _clusters,
                _endpoints,
                _requests,
                _pods,
                _warnings,
                _log,
                _unread,
            )
        ),
    ]
    clusters = {finding.cluster for each in requirements for finding in case.failures.get(each, ())}
    return Cause(
        KIND,
        tuple(name for name in case.facts.clusters if name in clusters),
        f"the cause of {what} is not known; nothing that was gathered explains it",
        tuple(dict.fromkeys(seen)) or (Evidence("nothing unusual was seen"),),
        "look at the evidence and the diagnostics bundle",
        certainty="possible",
    )


def _findings(case: Case, requirements: Sequence[str]) -> Iterator[Evidence]:
    for requirement in requirements:
        for finding in case.failures.get(requirement, ()):
            seen = f"{finding.cluster}: expected {finding.expected}, but saw {finding.seen}"
            yield Evidence(seen, finding.source.asked if finding.source else "")


def _paths(case: Case) -> Iterator[Evidence]:
    for path in case.facts.paths:
        apart = path.kind == "pod" and not case.scenario.same_network(path.client, path.server)
        if path.is_open == apart or path.open not in (0, path.attempts):
            yield Evidence(f"from {path.client}: {path} {path.message}".rstrip(), path.source)


def _clusters(case: Case) -> Iterator[Evidence]:
    for name, facts in case.facts.clusters.items():
        for istiod in facts.istiods or ():
            for cluster, state in (istiod.clusters or {}).items():
                if state != "synced":
                    yield Evidence(
                        f"istiod of {name}: {cluster} {state}",
                        f"istioctl --context={name} remote-clusters",
                    )
            if istiod.unsynced:
                yield Evidence(
                    f"proxies that istiod of {name} has not heard back from: "
                    f"{listed(istiod.unsynced)}",
                    f"istioctl --context={name} proxy-status",
                )


def _endpoints(case: Case) -> Iterator[Evidence]:
    for name, facts in case.facts.clusters.items():
        if facts.client is not None and facts.client.endpoints is not None:
            seen = listed(facts.client.endpoints, "no endpoint")
            yield Evidence(f"Sleep's proxy in {name} knows {seen}", facts.client.source)


def _requests(case: Case) -> Iterator[Evidence]:
    for traffic in case.facts.traffic:
        for said, count in sorted(traffic.failures.items(), key=lambda each: -each[1])[:2]:
            seen = f"from {traffic.client}: {count} of {traffic.sent} requests: {said}"
            yield Evidence(seen, traffic.source)


def _pods(case: Case) -> Iterator[Evidence]:
    for name, facts in case.facts.clusters.items():
        for pod in facts.pods or ():
            if not pod.serving:
                yield Evidence(f"{name}: pod {pod}", get(name, "pods -o wide", pod.namespace))


def _warnings(case: Case) -> Iterator[Evidence]:
    """Newest first, without those about pods that are gone, or that have recovered."""
    found = [
        (each.last, name, each)
        for name, facts in case.facts.clusters.items()
        for each in facts.warnings or ()
        if not each.about.startswith("Pod/")
        or each.about in {f"Pod/{pod.name}" for pod in facts.pods or () if not pod.serving}
    ]
    for _, name, each in sorted(found, key=lambda one: one[0], reverse=True):
        yield Evidence(f"{name}: {each}", get(name, "events", each.namespace))


def _log(case: Case) -> Iterator[Evidence]:
    for name, facts in case.facts.clusters.items():
        for istiod in facts.istiods or ():
            for line in (istiod.log or ())[-2:]:
                yield Evidence(
                    f"istiod of {name}: {line}",
                    f"kubectl --context={name} -n istio-system logs {istiod.pod}",
                )


def _unread(case: Case) -> Iterator[Evidence]:
    for each in case.facts.unread:
        yield Evidence(f"could not be read: {each.why}", each.source)
