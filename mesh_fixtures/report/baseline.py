"""What reports are compared with: the schema of a baseline, and how one is made of reports.

    apiVersion: mesh-conformance.dev/v1alpha1
    kind: ConformanceBaseline
    tolerances:                        # the first whose pattern fits a figure's name counts
      - {figures: '*.failures', better: lower, absolute: 5, relative: 0.5}
    topologies:
      - topology: multi-primary        # id of the scenario
        provider: netns                # left out: whichever
        install: istioctl              # left out: however
        scenario: 2c26b46b...          # digest
        istio: 1.31.1
        requirements:
          TRUST-1: {result: met}
          RESILIENCE-1: {result: met, figures: {cluster1.failures: 0}}
    knownFailures:
      - requirement: RESILIENCE-4
        reason: endpoints get lost, istio/istio#60612
        expires: 2027-01-31            # the last day on which it counts
        topologies: [primary-*]        # patterns of ids; left out: all

A requirement has to be as good as here: `met` makes it required, `unmet` lets it go on failing,
`not run` is what all those are that are not named. A figure without a tolerance is not compared.
A known failure is as if the requirement were `unmet` here, until it expires; from then on as if it
were `met`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, TypeGuard

from pydantic import Field, model_validator

from mesh_fixtures.errors import ReportError
from mesh_fixtures.report.document import API_VERSION, Document, DocumentPart
from mesh_fixtures.report.merging import Combined, Key
from mesh_fixtures.report.model import Figure, Known, RequirementId

Number = int | float

Accepted = Literal["met", "not applicable", "not run", "unmet"]


class Tolerance(DocumentPart):
    """How much worse a figure may be than in the baseline: by the larger of both.

    Attributes:
        figures: pattern of names, as in a shell: `*.failures`.
        better: whether less or more of it is better.
        absolute: in the figure's own unit.
        relative: part of the baseline's figure.
    """

    figures: Annotated[str, Field(min_length=1)]
    better: Literal["lower", "higher"] = "lower"
    absolute: Annotated[float, Field(ge=0)] = 0.0
    relative: Annotated[float, Field(ge=0)] = 0.0

    def fits(self, name: str) -> bool:
        return fnmatchcase(name, self.figures)

    def limit(self, accepted: Number) -> float:
        """The worst figure that is tolerated."""
        slack = max(self.absolute, self.relative * abs(accepted))
        return accepted + slack if self.better == "lower" else accepted - slack

    def tolerates(self, figure: Number, accepted: Number) -> bool:
        limit = self.limit(accepted)
        return figure <= limit if self.better == "lower" else figure >= limit


TOLERANCES: Final = (
    Tolerance(figures="*.failures", absolute=5, relative=0.5),
    Tolerance(figures="*.errored_seconds", absolute=2, relative=0.5),
    Tolerance(figures="*.seconds_to_converge", absolute=5, relative=0.5),
    Tolerance(figures="*.seconds_to_restore", absolute=10, relative=0.5),
)
"""Of a baseline that has none of its own. Requirements have limits by themselves, e.g. no failed
request at all where nothing is taken down; these are for what gets worse within the limits. Times
depend on the machine, so that half as much again is still the same. Latencies are not among them:
another job on the same machine multiplies them, and a gate that shuts by chance is soon ignored."""

_LATENCIES: Final = "*.latency_p[59]0_ms.*"
"""Medians and 90th percentiles. The 99th is that of one or two requests, which is chance."""

_LEAST_MILLISECONDS: Final = 5.0
"""By which a latency may grow in any case: a busy processor's time slice."""


def tolerance_of_latencies(relative: float) -> Tolerance:
    """For latencies that are worth comparing: of machines that do nothing else.

    Args:
        relative: part of the baseline's latency by which one may grow.
    """
    return Tolerance(figures=_LATENCIES, absolute=_LEAST_MILLISECONDS, relative=relative)


class Expectation(DocumentPart):
    """What a requirement has to be as good as.

    Attributes:
        figures: those that have a tolerance, of a requirement that is met.
    """

    result: Accepted
    figures: Mapping[str, Number] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _figures_of_success(self) -> Expectation:
        if self.figures and self.result != "met":
            raise ValueError(f"figures are only compared where it is met, and it is {self.result}")
        return self


class KnownFailure(DocumentPart):
    """A requirement that may fail for a while, and why.

    Attributes:
        expires: the last day on which it may, in UTC.
        topologies: patterns of ids, as in a shell.
        provider: empty for whichever. So `install`.
    """

    requirement: RequirementId
    reason: Annotated[str, Field(min_length=1)]
    expires: date
    topologies: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    provider: str = ""
    install: str = ""

    def is_about(self, requirement: str, topology: Key) -> bool:
        """Whether it is about a requirement on a topology; `topology` may leave things open."""
        return (
            requirement == self.requirement
            and any(fnmatchcase(topology.topology, each) for each in self.topologies)
            and (not self.provider or topology.provider in ("", self.provider))
            and (not self.install or topology.install in ("", self.install))
        )

    def on(self, today: date) -> Known:
        """What a report says of it."""
        return Known(reason=self.reason, expires=self.expires, expired=today > self.expires)

    def __str__(self) -> str:
        return f"{self.reason} (until {self.expires})"


class TopologyBaseline(DocumentPart):
    """A topology that must have been verified.

    Attributes:
        provider: empty for whichever. So `install`.
        scenario: digest.
        istio: version.
    """

    topology: str
    provider: str = ""
    install: str = ""
    scenario: str
    istio: str
    requirements: Mapping[RequirementId, Expectation] = Field(min_length=1)

    @property
    def key(self) -> Key:
        return Key(self.topology, self.provider, self.install)

    def is_about(self, found: Combined) -> bool:
        key = found.key
        return (
            self.topology == key.topology
            and self.provider in ("", key.provider)
            and self.install in ("", key.install)
        )

    def __str__(self) -> str:
        kind = ", ".join(each for each in (self.provider, self.install) if each)
        return f"{self.topology} ({kind})" if kind else self.topology


class Baseline(Document):
    """All that must have been verified, and with what outcome."""

    api_version: Literal["mesh-conformance.dev/v1alpha1"] = API_VERSION
    kind: Literal["ConformanceBaseline"] = "ConformanceBaseline"
    tolerances: tuple[Tolerance, ...] = TOLERANCES
    topologies: tuple[TopologyBaseline, ...] = Field(min_length=1)
    known_failures: tuple[KnownFailure, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Baseline:
        keys = [(each.topology, each.provider, each.install) for each in self.topologies]
        if len({*keys}) < len(keys):
            raise ValueError("a topology is there twice with the same provider and install")
        return self

    def known(self, requirement: str, topology: Key) -> KnownFailure | None:
        """The known failure of a requirement, of several the one that expires last."""
        found = (each for each in self.known_failures if each.is_about(requirement, topology))
        return max(found, key=lambda each: each.expires, default=None)

    def tolerance(self, figure: str) -> Tolerance | None:
        """The tolerance of a figure; None where it is not compared."""
        return tolerance_of(figure, self.tolerances)


def tolerance_of(figure: str, tolerances: Iterable[Tolerance]) -> Tolerance | None:
    """The first tolerance that fits a figure's name."""
    return next((each for each in tolerances if each.fits(figure)), None)


def make(
    found: Iterable[Combined],
    tolerances: tuple[Tolerance, ...] = TOLERANCES,
    known_failures: tuple[KnownFailure, ...] = (),
) -> Baseline:
    """The baseline by which these reports pass, but for what is inconclusive in them, and for known
    failures that have expired.

    Raises:
        ReportError: reports of one topology are of several scenarios or versions, or there is
            nothing to compare with.
    """
    return Baseline(
        tolerances=tolerances,
        topologies=tuple(_topology(each, tolerances) for each in found),
        known_failures=known_failures,
    )


def _topology(found: Combined, tolerances: tuple[Tolerance, ...]) -> TopologyBaseline:
    key = found.key
    if not any(found.result(each) in ("met", "unmet") for each in found.requirements):
        raise _unusable(key, "a requirement that was verified", "none")
    for what, known in (("scenario", found.digests), ("version of Istio", found.istio)):
        if len(known) != 1 or known == {""}:
            seen = ", ".join(sorted(known - {""})) or "an unknown one"
            raise _unusable(key, f"reports of one {what}", seen)
    return TopologyBaseline(
        topology=key.topology,
        provider=key.provider,
        install=key.install,
        scenario=min(found.digests),
        istio=min(found.istio),
        requirements={each: _expectation(found, each, tolerances) for each in found.requirements},
    )


def _expectation(
    found: Combined, requirement: str, tolerances: tuple[Tolerance, ...]
) -> Expectation:
    result = found.result(requirement)
    if result == "inconclusive":
        return Expectation(result="not run")
    if result != "met":
        return Expectation(result=result)
    figures: dict[str, Number] = {}
    for name, values in found.figures(requirement).items():
        tolerance = tolerance_of(name, tolerances)
        numbers = [each for each in values if is_number(each)]
        if tolerance is not None and numbers:
            figures[name] = max(numbers) if tolerance.better == "lower" else min(numbers)
    return Expectation(result="met", figures=figures)


def is_number(figure: Figure) -> TypeGuard[Number]:
    return isinstance(figure, int | float)


def _unusable(key: object, wanted: str, seen: str) -> ReportError:
    return ReportError(wanted=wanted, seen=seen, where=str(key))
