"""Puts reports of several runs together: pure, and in whatever order, with the same outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from mesh_fixtures.report.model import Figure, Report, RequirementReport, Result

TELLS_LEAST_FIRST: Final[tuple[Result, ...]] = (
    "not run",
    "not applicable",
    "met",
    "inconclusive",
    "unmet",
)
"""Of two results, the later one counts: what was verified in one run need not be in another, and
what once failed has failed."""


@dataclass(frozen=True, order=True)
class Key:
    """What makes reports belong together."""

    topology: str
    provider: str
    install: str

    def __str__(self) -> str:
        return f"{self.topology} ({self.provider}, {self.install})"


@dataclass(frozen=True)
class Verdict:
    """What several runs say of a requirement.

    Attributes:
        reasons: why there is no better result, of each run that says so.
        figures: every value that was measured, by name.
    """

    result: Result
    reasons: frozenset[str] = frozenset()
    figures: Mapping[str, frozenset[Figure]] = field(default_factory=dict)

    def __or__(self, other: Verdict) -> Verdict:
        mine, others = map(TELLS_LEAST_FIRST.index, (self.result, other.result))
        names = self.figures.keys() | other.figures.keys()
        none: frozenset[Figure] = frozenset()
        return Verdict(
            result=self.result if mine >= others else other.result,
            reasons=(self.reasons if mine >= others else frozenset())
            | (other.reasons if others >= mine else frozenset()),
            figures={
                name: self.figures.get(name, none) | other.figures.get(name, none) for name in names
            },
        )


@dataclass(frozen=True)
class Combined:
    """What several runs say of one topology.

    Attributes:
        digests: of the scenarios that were verified.
        istio: versions that were verified; those of runs that verified nothing do not count.
        verdicts: by requirement.
        notes: what else is worth a look: interruptions, and errors beside requirements.
    """

    key: Key
    digests: frozenset[str]
    istio: frozenset[str]
    verdicts: Mapping[str, Verdict]
    notes: frozenset[str]

    def __or__(self, other: Combined) -> Combined:
        if self.key != other.key:
            raise ValueError(f"{self.key} and {other.key} are not to be put together")
        ids = self.verdicts.keys() | other.verdicts.keys()
        unknown = Verdict("not run")
        return Combined(
            key=self.key,
            digests=self.digests | other.digests,
            istio=self.istio | other.istio,
            verdicts={
                each: self.verdicts.get(each, unknown) | other.verdicts.get(each, unknown)
                for each in ids
            },
            notes=self.notes | other.notes,
        )


def combined(report: Report) -> Combined:
    """What one report says."""
    verified = any(each.result in ("met", "unmet") for each in report.requirements)
    notes = [report.run.interrupted, *(each.partition("\n")[0] for each in report.run.errors)]
    return Combined(
        key=Key(report.topology.id, report.provider.name, report.provider.install),
        digests=frozenset({report.topology.digest}),
        istio=frozenset({report.versions.istio} if verified else ()),
        verdicts={
            each.id: Verdict(
                result=each.result,
                reasons=frozenset({_reason(each)} - {""}),
                figures={name: frozenset({value}) for name, value in each.figures.items()},
            )
            for each in report.requirements
        },
        notes=frozenset(notes) - {""},
    )


def _reason(each: RequirementReport) -> str:
    """Why there is no better result, in a line."""
    if each.findings:
        return str(each.findings[0])
    return each.reason.strip().partition("\n")[0]


def merge(reports: Iterable[Report]) -> tuple[Combined, ...]:
    """What all reports say, by topology, provider and way of installation, in their order."""
    found: dict[Key, list[Combined]] = {}
    for each in map(combined, reports):
        found.setdefault(each.key, []).append(each)
    return tuple(reduce(Combined.__or__, found[key]) for key in sorted(found))
