"""From failed requirements and facts to ranked root causes: pure functions, and their input as a
recording that can be diagnosed again.

What no rule explains has a cause that is not known, with everything unusual that was seen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Final

from pydantic import TypeAdapter

from mesh_fixtures.diagnosis.alike import distinct
from mesh_fixtures.diagnosis.cause import (
    CERTAINTIES,
    UNKNOWN,
    Case,
    Cause,
    Diagnosis,
    Evidence,
    Kind,
    Layer,
    RootCause,
    explains,
    get,
    listed,
)
from mesh_fixtures.diagnosis.facts import Facts, Istiod
from mesh_fixtures.diagnosis.rules import RULES
from mesh_fixtures.requirements.registry import depending_on, foundations
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding

_UNEXPLAINED: Final = Kind(UNKNOWN, Layer.UNEXPLAINED, ())

_RECENT_SECONDS: Final = 900.0
"""What was last seen longer ago is not unusual now."""

_REFUSED: Final = re.compile(r"(?i)failed to authenticate|handshake")
"""What istiod logs of clients that it refuses."""

_EACH: Final = 4
"""Pieces of evidence of one sort that are kept."""

Failures = Mapping[str, Sequence[Finding]]
"""What was found against each failed requirement, by its id; nothing where it could not be seen."""


def diagnose(scenario: Scenario, facts: Facts, failures: Failures) -> Diagnosis:
    """Why requirements fail. What nothing explains is the consequence of a cause `unknown`; where
    a requirement could not be checked, and nothing explains that, there is nothing to explain.

    Args:
        failures: in the order of reports.
    """
    case = Case(scenario, facts, failures)
    causes = _causes(case)
    blamed: dict[str, tuple[Cause, ...]] = {}
    left: dict[str, tuple[Finding, ...]] = {}
    for each, findings in failures.items():
        found = {finding: _blamed(each, finding, causes, scenario) for finding in findings}
        unexplained = tuple(finding for finding, those in found.items() if not those)
        if unexplained:
            left[each] = unexplained
        explaining = found.values() if findings else [_blamed(each, None, causes, scenario)]
        blamed[each] = tuple(dict.fromkeys(chain.from_iterable(explaining)))
    guilty = [cause for found in blamed.values() for cause in found]
    family = _relatives(guilty, causes)
    roots = [*_roots([each for each in causes if each in family], blamed), *_unknown(case, left)]
    return ranked(roots)


def diagnose_step(
    scenario: Scenario, facts: Facts, done_before: Collection[str], trouble: str
) -> Diagnosis:
    """Why a step of the installation fails: what is not as it has to be by then.

    Args:
        done_before: ids of the failed step and of those that it needs, in the scenario's whole
            plan; what is only to come cannot be missing.
        trouble: output of the step.
    """
    case = Case(scenario, facts, {})
    found = _causes(case)
    causes = [each for each in found if not each.step or each.step in done_before]
    roots = ranked(_roots(causes, {})).roots or (
        RootCause(_unexplained(case, trouble=trouble), ()),
    )
    return Diagnosis(tuple(each for each in roots if each.certainty == roots[0].certainty))


def ranked(roots: Iterable[RootCause]) -> Diagnosis:
    """The most certain first, among equals the most upstream layer."""
    return Diagnosis(tuple(sorted(roots, key=_rank)))


@dataclass(frozen=True)
class Recording:
    """What was to be, what failed, and what was seen: kept in reports' bundles and in tests, to be
    diagnosed again.

    Attributes:
        failures: findings by id of the failed requirement, in the order of reports; none where it
            could not be seen whether it holds.
    """

    scenario: Scenario
    failures: Mapping[str, tuple[Finding, ...]]
    facts: Facts

    def diagnose(self) -> Diagnosis:
        """Why the requirements failed."""
        return diagnose(self.scenario, self.facts, self.failures)

    def to_json(self) -> bytes:
        """As JSON that `from_json` reads; what has its default is left out."""
        return _ADAPTER.dump_json(self, indent=1, exclude_defaults=True, by_alias=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Recording:
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: it is something else.
        """
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Recording)


def _causes(case: Case) -> tuple[Cause, ...]:
    """What all rules find, each once."""
    return tuple(dict.fromkeys(cause for rule in RULES for cause in rule(case)))


def _blamed(
    requirement: str, finding: Finding | None, causes: Iterable[Cause], scenario: Scenario
) -> tuple[Cause, ...]:
    """The causes that a finding against a requirement is due to, of those that concern what it is
    about: the most certain ones, and of these those that break the requirement, else those that
    break what it depends on.

    Args:
        finding: None where it could not be seen whether the requirement holds.
    """
    below = foundations(requirement, scenario)
    able = [each for each in causes if finding is None or explains(each, finding, scenario)]
    for certainty in CERTAINTIES:
        equal = [cause for cause in able if cause.certainty == certainty]
        direct = tuple(cause for cause in equal if requirement in cause.kind.breaks)
        found = direct or tuple(
            cause for cause in equal if not cause.kind.alone and below & {*cause.kind.breaks}
        )
        if found:
            return found
    return ()


def _relatives(guilty: Iterable[Cause], causes: Iterable[Cause]) -> frozenset[Cause]:
    """Causes, what they may follow from, and what may follow from these."""
    found = set(guilty)
    for _ in range(2):
        found |= {each for each in causes if any(one.may_follow(each) for one in found)}
    found |= {each for each in causes if any(each.may_follow(one) for one in found)}
    return frozenset(found)


def _roots(causes: Sequence[Cause], blamed: Mapping[str, Collection[Cause]]) -> Iterator[RootCause]:
    """The causes that follow from no other one, each with those that follow from it."""
    parents = {
        cause: [other for other in causes if other is not cause and cause.may_follow(other)]
        for cause in causes
    }
    for cause in causes:
        if not parents[cause]:
            followers = _followers(cause, parents)
            family = {cause, *followers}
            consequences = tuple(each for each, found in blamed.items() if family & {*found})
            yield RootCause(cause, consequences, followers)


def _followers(cause: Cause, parents: Mapping[Cause, Sequence[Cause]]) -> tuple[Cause, ...]:
    reached = [cause]
    for current in reached:  # grows on the way
        reached += [
            other for other, of in parents.items() if current in of and other not in reached
        ]
    return tuple(reached[1:])


def _unknown(case: Case, left: Failures) -> Iterator[RootCause]:
    """One unknown cause for each failed requirement that depends on no other unexplained one.

    Args:
        left: what nothing explains.
    """
    for requirement, findings in left.items():
        if not foundations(requirement, case.scenario) & {*left}:
            consequences = depending_on([requirement], left, case.scenario)
            ordered = tuple(each for each in left if each in consequences)
            yield RootCause(_unexplained(case, requirement, findings), ordered)


def _rank(root: RootCause) -> tuple[int, int, tuple[str, ...]]:
    cause = root.cause
    return CERTAINTIES.index(cause.certainty), cause.kind.layer, cause.clusters


def _unexplained(
    case: Case, requirement: str = "", findings: Sequence[Finding] = (), trouble: str = ""
) -> Cause:
    """A cause that is not known, with the evidence that was gathered.

    Args:
        requirement: that is not met; empty for a step of the installation.
        findings: those that nothing explains.
        trouble: output of the step.
    """
    what = f"{requirement} not being met" if requirement else "the failure of the step"
    if len(findings) < len(case.failures.get(requirement, ())):
        what += f" in {listed(dict.fromkeys(each.cluster for each in findings))}"
    seen = [
        *map(_as_evidence, islice(distinct(findings), 2 * _EACH)),
        *([Evidence(trouble)] if trouble else []),
        *chain.from_iterable(
            islice(distinct(source(case), lambda each: each.seen), _EACH)
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
    clusters = {each.cluster for each in findings}
    return Cause(
        _UNEXPLAINED,
        tuple(name for name in case.facts.clusters if name in clusters),
        f"the cause of {what} is not known; nothing that was gathered explains it",
        tuple(dict.fromkeys(seen)) or (Evidence("nothing unusual was seen"),),
        "look at the evidence and the diagnostics bundle",
        certainty="possible",
    )


def _as_evidence(finding: Finding) -> Evidence:
    seen = f"{finding.cluster}: expected {finding.expected}, but saw {finding.seen}"
    return Evidence(seen, finding.source.asked if finding.source else "")


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
        for message, count in sorted(traffic.failures.items(), key=lambda each: -each[1])[:2]:
            seen = f"from {traffic.client}: {count} of {traffic.sent} requests: {message}"
            yield Evidence(seen, traffic.source)


def _pods(case: Case) -> Iterator[Evidence]:
    for name, facts in case.facts.clusters.items():
        for pod in facts.pods or ():
            if not pod.serving:
                yield Evidence(f"{name}: pod {pod}", get(name, "pods -o wide", pod.namespace))


def _warnings(case: Case) -> Iterator[Evidence]:
    """Newest first, without those about what is gone or has recovered, and those of long ago."""
    found = [
        (each.last, name, each)
        for name, facts in case.facts.clusters.items()
        for each in facts.warnings or ()
        if not facts.has_recovered(each) and not _is_old(each.last, case.facts.at)
    ]
    for _, name, each in sorted(found, key=lambda one: one[0], reverse=True):
        yield Evidence(f"{name}: {each}", get(name, "events", each.namespace))


def _is_old(last: str, now: float) -> bool:
    if not last:
        return False
    return now - datetime.fromisoformat(last).timestamp() > _RECENT_SECONDS


def _log(case: Case) -> Iterator[Evidence]:
    for name, facts in case.facts.clusters.items():
        for istiod in facts.istiods or ():
            others = _refusing_others(case, name, istiod)
            lines = [each for each in istiod.log or () if not (others and _REFUSED.search(each))]
            for line in lines[-2:]:
                yield Evidence(
                    f"istiod of {name}: {line}",
                    f"kubectl --context={name} -n {case.system_namespace} logs {istiod.pod}",
                )


def _refusing_others(case: Case, primary: str, istiod: Istiod) -> bool:
    """Whether clients that an istiod refuses are none of the mesh's, as those are by which this
    harness tries what it must refuse: all that should be connected to it are.
    """
    wanted = {
        f"{name}/{pod.name}.{pod.namespace}"
        for name, facts in case.facts.clusters.items()
        if case.scenario.control_plane_of(name) == primary
        for pod in facts.pods or ()
        if pod.proxy is not None
    }
    return istiod.connected is not None and wanted <= {*istiod.connected}


def _unread(case: Case) -> Iterator[Evidence]:
    for each in case.facts.unread:
        yield Evidence(f"could not be read: {each.why}", each.source)
