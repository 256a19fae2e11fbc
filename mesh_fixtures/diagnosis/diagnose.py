"""From failed requirements and facts to ranked root causes: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from mesh_fixtures.diagnosis.case import Case
from mesh_fixtures.diagnosis.cause import CERTAINTIES, Cause, Diagnosis, RootCause
from mesh_fixtures.diagnosis.facts import Facts
from mesh_fixtures.diagnosis.rules import RULES
from mesh_fixtures.diagnosis.unexplained import unexplained
from mesh_fixtures.requirements.registry import depending_on, foundations
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding

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
    blamed = {each: _blamed(each, causes, scenario) for each in failures}
    guilty = [cause for found in blamed.values() for cause in found]
    left = [each for each, found in blamed.items() if not found and failures[each]]
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
        trouble: what the step said.
    """
    case = Case(scenario, facts, {})
    found = _causes(case)
    causes = [each for each in found if not each.step or each.step in done_before]
    roots = ranked(_roots(causes, {})).roots or (RootCause(unexplained(case, (), trouble), ()),)
    return Diagnosis(tuple(each for each in roots if each.certainty == roots[0].certainty))


def ranked(roots: Iterable[RootCause]) -> Diagnosis:
    """The most certain first, among equals the most upstream of the ladder."""
    return Diagnosis(tuple(sorted(roots, key=_rank)))


def _causes(case: Case) -> tuple[Cause, ...]:
    """What all rules find, each once."""
    return tuple(dict.fromkeys(cause for rule in RULES for cause in rule(case)))


def _blamed(requirement: str, causes: Iterable[Cause], scenario: Scenario) -> tuple[Cause, ...]:
    """The causes that a requirement fails by: the most certain ones, and of these those that break
    it, else those that break what it rests on.
    """
    below = foundations(requirement, scenario)
    for certainty in CERTAINTIES:
        equal = [cause for cause in causes if cause.certainty == certainty]
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


def _unknown(case: Case, left: Sequence[str]) -> Iterator[RootCause]:
    """One unknown cause for each failed requirement that rests on no other one left unexplained."""
    for requirement in left:
        if not foundations(requirement, case.scenario) & {*left}:
            consequences = depending_on([requirement], left, case.scenario)
            ordered = tuple(each for each in left if each in consequences)
            yield RootCause(unexplained(case, (requirement,)), ordered)


def _rank(root: RootCause) -> tuple[int, int, tuple[str, ...]]:
    cause = root.cause
    return CERTAINTIES.index(cause.certainty), cause.kind.rung, cause.clusters
