"""The schema of a report: what was verified of one topology on one provider, and what came of it.

A report contains its scenario, so that it can be read, drawn and compared without anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from mesh_fixtures.report.document import API_VERSION, Document, DocumentPart
from mesh_fixtures.retries import Retry
from mesh_fixtures.scenario import Scenario

if TYPE_CHECKING:
    from mesh_fixtures.requirements import Requirement

Result = Literal["met", "unmet", "inconclusive", "not applicable", "not run"]
"""Inconclusive: trouble kept the check from seeing whether it holds. Not applicable: the scenario
lacks a feature, or the mesh was not upgraded so. Not run: it was not selected, would have disrupted
the mesh, or was not reached."""

BEST_FIRST: Final[tuple[Result, ...]] = (
    "met",
    "not applicable",
    "not run",
    "inconclusive",
    "unmet",
)
"""What a person who waits for a verdict would rather see. Of several tests in one run, the last of
these counts."""

TELLS_LEAST_FIRST: Final[tuple[Result, ...]] = (
    "not run",
    "not applicable",
    "met",
    "inconclusive",
    "unmet",
)
"""Of several runs, the last of these counts: what was verified in one need not be in another, and
what once failed has failed."""

LevelResult = Literal["success", "partial", "failure"]
"""Success: every requirement that applies is met, and at least one is. Failure: one is unmet.
Partial: neither, as some were not run or are inconclusive."""

Level = Literal["core", "extended"]

LEVELS: Final[tuple[Level, ...]] = ("core", "extended")

Figure = bool | int | float | str
"""Something measured; shares and bands are texts such as `1/2` and `66 to 134 of 200`."""

RequirementId = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*$")]
FileNamePart = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class Topology(DocumentPart):
    """The scenario.

    Attributes:
        id: name of the scenario's file.
        digest: SHA-256 (hex) of its content.
        spec: its content, as in its file.
    """

    id: FileNamePart
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    spec: Mapping[str, object]

    @classmethod
    def of(cls, scenario: Scenario) -> Topology:
        """The scenario as a part of a report."""
        spec = scenario.model_dump(
            mode="json", by_alias=True, exclude={"id"}, exclude_defaults=True
        )
        return cls(id=scenario.id, digest=scenario.digest, spec=spec)

    @property
    def scenario(self) -> Scenario:
        return Scenario.model_validate({"id": self.id, **self.spec})

    @model_validator(mode="after")
    def _is_a_scenario(self) -> Topology:
        if self.scenario.digest != self.digest:
            raise ValueError("the digest is another scenario's than spec")
        return self


class Implementation(DocumentPart):
    """Whose mesh was verified, as those say who did. What is empty is not known.

    Attributes:
        organization: who stands behind it.
        project: the product or mesh.
        version: the project's.
        contact: where to ask about the results.
        reproduce: how others get the same results.
    """

    organization: str = ""
    project: str = ""
    version: str = ""
    contact: tuple[str, ...] = ()
    reproduce: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of what is not known."""
        return tuple(name for name, value in self if not value)

    @property
    def title(self) -> str:
        named = " ".join(filter(None, (self.project, self.version)))
        return ", ".join(filter(None, (self.organization, named)))


class Provider(DocumentPart):
    """What made the clusters.

    Attributes:
        chosen: why it was this one, e.g. `auto: root on Linux`; empty when nobody chose.
        install: how the mesh was installed: `istioctl`, or `skip` where it was there already; with
            how its gateways were where that differs: `istioctl-gateway-api`.
        gateways: how its gateways were: `istioctl`, `helm` or `gateway-api`; empty where the mesh
            was there already, and for an old report.
    """

    name: FileNamePart
    chosen: str = ""
    install: FileNamePart
    gateways: str = ""


class Versions(DocumentPart):
    """Versions of what was verified. Empty where it is not known; several, as where clusters
    differ, are separated by commas.

    Attributes:
        harness: of this project.
        istio: what istiod says of itself; where it could not be asked, what was to be installed.
        proxy: Envoy's, as the proxies say.
        images: `built`, `released`, or empty for a mesh that somebody else installed.
        istiod_image: what istiod runs, with the image's digest.
        proxy_image: what Sleep's proxy runs, with the image's digest.
    """

    harness: str
    istio: str = ""
    kubernetes: str = ""
    proxy: str = ""
    metallb: str = ""
    images: str = ""
    istiod_image: str = ""
    proxy_image: str = ""


class Retried(DocumentPart):
    """A question that was asked again: see `mesh_fixtures.retries.Retry`.

    Attributes:
        times: how often it was.
    """

    where: str
    wanted: str
    seen: str
    times: Annotated[int, Field(ge=1)]

    def __str__(self) -> str:
        return Retry(self.where, self.wanted, self.seen).line(self.times)


class Run(DocumentPart):
    """When, and with which options.

    Attributes:
        interrupted: why the run ended before all that was selected; empty where it did not.
        requests: from each cluster, when traffic is observed.
        disruptive: whether parts of the mesh were taken down.
        overlap: whether sample workloads were deployed while the mesh was still installed.
        recorded: whether what istioctl does was done to the clusters as it had been recorded, in
            place of running it on them.
        upgraded_from: version of Istio from which the mesh was upgraded to that of `Versions`;
            empty where it was not.
        upgrade: how: `in-place` or `revision`.
        patience: what every deadline was multiplied by.
        patience_reason: the option that said so, or what was measured; empty for an old report.
        errors: trouble that is no requirement's, e.g. when the lab was removed.
        retries: also without a failure, they can announce one.
        bundle: name of the diagnostics bundle beside the report; empty where there is none.
    """

    began: AwareDatetime
    ended: AwareDatetime
    interrupted: str = ""
    requests: int
    disruptive: bool
    overlap: bool = False
    recorded: bool = False
    upgraded_from: str = ""
    upgrade: str = ""
    patience: Annotated[float, Field(ge=1)] = 1.0
    patience_reason: str = ""
    errors: tuple[str, ...] = ()
    retries: tuple[Retried, ...] = ()
    bundle: str = ""

    @property
    def upgraded(self) -> str:
        """From which version the mesh was upgraded, and how; empty where it was not."""
        return f"{self.upgraded_from} ({self.upgrade})" if self.upgraded_from else ""

    @property
    def slowed(self) -> str:
        """What deadlines were multiplied by, and why; empty where they were not."""
        return "" if self.patience == 1 else f"{self.patience:g} ({self.patience_reason})"


class Found(DocumentPart):
    """A difference between what must hold and what was seen.

    Attributes:
        cluster: where it was seen, or from where.
        source: the command that shows it again; empty when there is none.
    """

    cluster: str
    expected: str
    seen: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.cluster}: expected {self.expected}, but saw {self.seen}"


class Known(DocumentPart):
    """That a requirement is known to fail: see `mesh_fixtures.report.baseline.KnownFailure`.

    Attributes:
        expired: whether that was over when the requirement was verified.
    """

    reason: str
    expires: date
    expired: bool

    def about(self, result: Result) -> str:
        """What is to be said of it, given what came of the requirement."""
        if result == "met":
            return f"met, although it is a known failure ({self.reason}): remove that"
        if self.expired:
            return f"its known failure expired on {self.expires}: {self.reason}"
        return f"known failure until {self.expires}: {self.reason}"


class RequirementReport(DocumentPart):
    """What came of one requirement: of a test, as its worker sends it, of a run, as it is reported,
    and of several runs, as the gate compares them.

    Attributes:
        reason: why there is no verdict, in a line or more; empty where there is one.
        seconds: that its tests took.
        figures: what was measured, by name.
        causes: ids of `Report.causes`.
        notes: what is unusual and works, a sentence each.
        known: where the run's baseline has a known failure of it.
    """

    id: RequirementId
    level: Level
    title: str
    result: Result
    known: Known | None = None
    reason: str = ""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    findings: tuple[Found, ...] = ()
    figures: Mapping[str, Figure] = Field(default_factory=dict)
    causes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def unverified(cls, requirement: Requirement, result: Result, reason: str) -> RequirementReport:
        """Of a requirement of which no test has come to an end."""
        return cls(
            id=requirement.id,
            level=requirement.level,
            title=requirement.title,
            result=result,
            reason=reason,
        )

    @property
    def about_known(self) -> str:
        """What is to be said of its known failure; empty without one, or without a verdict."""
        if self.known is None or self.result not in ("met", "unmet"):
            return ""
        return self.known.about(self.result)

    @property
    def why(self) -> str:
        """Why there is no better result, in a line; empty where nothing is known of that."""
        if self.findings:
            return str(self.findings[0])
        return self.reason.strip().partition("\n")[0]


class Observation(DocumentPart):
    """Something that was seen, and the command that shows it again where there is one."""

    seen: str
    source: str = ""


class CauseReport(DocumentPart):
    """Why requirements, or a step of the installation, failed.

    Attributes:
        step: id of the installation step that would have set it right; empty when there is none.
        consequences: ids of the requirements that fail because of it.
        followed_by: what else was found that is only its consequence.
    """

    id: str
    certainty: Literal["certain", "likely", "possible"]
    clusters: tuple[str, ...] = ()
    statement: str
    evidence: tuple[Observation, ...] = ()
    remedy: str
    step: str = ""
    consequences: tuple[str, ...] = ()
    followed_by: tuple[str, ...] = ()


class Answers(DocumentPart):
    """Answers from one destination: a version, or versions behind a gateway.

    Attributes:
        share: observed.
        expected: share that the client's endpoint weights predict.
        low: fewest answers that are in the band. So `high`.
    """

    name: str
    count: Annotated[int, Field(ge=0)]
    share: Annotated[float, Field(ge=0, le=1)]
    expected: Annotated[float, Field(ge=0, le=1)]
    low: Annotated[int, Field(ge=0)]
    high: Annotated[int, Field(ge=0)]

    @property
    def holds(self) -> bool:
        return self.low <= self.count <= self.high


class Distribution(DocumentPart):
    """Who answered the requests from one cluster.

    Attributes:
        total: answers in all.
        failures: requests without an answer.
    """

    cluster: str
    total: Annotated[int, Field(ge=0)]
    failures: Annotated[int, Field(ge=0)] = 0
    answers: tuple[Answers, ...]


class Latency(DocumentPart):
    """How long answers took, as the client measured it, in milliseconds.

    Attributes:
        cluster: where the client is.
        version: of HelloWorld, that answered.
        path: local: to pods on the client's network; cross-network: through another's gateways.
        answers: how many there were.
        p50_ms: half of them took no longer. So `p90_ms` and `p99_ms` for 90 and 99 percent; of
            fewer than 100 answers, the latter is the slowest one's.
    """

    cluster: str
    version: str
    path: Literal["local", "cross-network"]
    answers: Annotated[int, Field(ge=0)]
    p50_ms: Annotated[float, Field(ge=0)]
    p90_ms: Annotated[float, Field(ge=0)]
    p99_ms: Annotated[float, Field(ge=0)]


class StepReport(DocumentPart):
    """A phase of the run.

    Attributes:
        cluster: empty when it spans the whole topology.
        began: seconds since the first.
        outcome: unfinished when the run ended before it.
    """

    phase: str
    cluster: str = ""
    began: Annotated[float, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]
    outcome: Literal["done", "failed", "unfinished"] = "done"


class Statistics(DocumentPart):
    """Numbers of requirements: passed are met, failed unmet, skipped not run."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    inconclusive: int = 0
    not_applicable: int = 0


class LevelReport(DocumentPart):
    """What came of all requirements of a level."""

    result: LevelResult
    statistics: Statistics

    @classmethod
    def of(cls, results: Iterable[Result]) -> LevelReport:
        """What follows from the results of its requirements."""
        found = list(results)
        counted = Statistics(
            passed=found.count("met"),
            failed=found.count("unmet"),
            skipped=found.count("not run"),
            inconclusive=found.count("inconclusive"),
            not_applicable=found.count("not applicable"),
        )
        if counted.failed:
            return cls(result="failure", statistics=counted)
        whole = counted.passed and not counted.skipped and not counted.inconclusive
        return cls(result="success" if whole else "partial", statistics=counted)


class Report(Document):
    """One run of one topology on one provider.

    Attributes:
        implementation: whose mesh it is; None where nobody said.
        levels: follow from `requirements`.
        causes: most certain first, among equals the most upstream.
        distribution: by client, of the requests of TRAFFIC-1. So `latency`.
        steps: in the order in which they began.
    """

    api_version: Literal["mesh-conformance.dev/v1alpha1"] = API_VERSION
    kind: Literal["ConformanceReport"] = "ConformanceReport"
    implementation: Implementation | None = None
    topology: Topology
    provider: Provider
    versions: Versions
    run: Run
    levels: Mapping[Level, LevelReport]
    requirements: tuple[RequirementReport, ...]
    causes: tuple[CauseReport, ...] = ()
    distribution: tuple[Distribution, ...] = ()
    latency: tuple[Latency, ...] = ()
    steps: tuple[StepReport, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Report:
        ids = [each.id for each in self.requirements]
        if len({*ids}) < len(ids):
            raise ValueError("a requirement is there twice")
        if self.levels != levels_of(self.requirements):
            raise ValueError("levels contradict the results of the requirements")
        return self

    @property
    def seconds(self) -> float:
        """From the topology's first step to the end of its last one; 0 without steps."""
        return max((step.began + step.seconds for step in self.steps), default=0.0)

    @property
    def verified(self) -> bool:
        """Whether there is a verdict on any requirement."""
        return any(each.result in ("met", "unmet") for each in self.requirements)

    @property
    def file_name(self) -> str:
        """Holds what tells a report from the others of a run."""
        return file_name(self.topology.id, self.provider.name, self.provider.install)


SUFFIX: Final = "-report.yaml"


def file_name(topology: str, provider: str, install: str) -> str:
    """Name of the file of a report."""
    return f"{topology}-{provider}-{install}{SUFFIX}"


def levels_of(requirements: Iterable[RequirementReport]) -> dict[Level, LevelReport]:
    """What came of each level."""
    found = list(requirements)
    return {
        level: LevelReport.of(each.result for each in found if each.level == level)
        for level in LEVELS
    }
