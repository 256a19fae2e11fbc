"""Reports as metrics: gauges by topology and cluster, as a text file for Prometheus.

Everything is a gauge, as nothing is counted from one run to the next. Names and labels are stable;
`FAMILIES` is all that there are. A name has the same labels in every file, of which none holds what
another does, so that those of several commands and meshes can lie in one folder, e.g. of
node_exporter's textfile collector. Source: Prometheus, Metric and label naming.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, get_args

from mesh_fixtures.report.document import write_text
from mesh_fixtures.report.model import CauseReport, Latency, Report, RequirementReport, Result

PREFIX: Final = "mesh_conformance_"

Command = Literal["verify", "check"]
"""What looked at the mesh; runs of pytest are `verify`."""

_MESH: Final = ("command", "topology", "provider", "install")


@dataclass(frozen=True)
class Family:
    """Gauges of one name.

    Attributes:
        text: what the value means.
        own: names of the labels that follow those of the mesh.
        unit: as OpenTelemetry calls it; empty for plain numbers.
    """

    short_name: str
    text: str
    own: tuple[str, ...] = ()
    unit: str = ""

    @property
    def name(self) -> str:
        return PREFIX + self.short_name

    @property
    def labels(self) -> tuple[str, ...]:
        return (*_MESH, *self.own)


_REQUIREMENT: Final = ("requirement", "level")

RESULT: Final = Family(
    "requirement_result",
    "1 for the result that a requirement has, 0 for the others",
    (*_REQUIREMENT, "result"),
)
MET: Final = Family(
    "requirement_met",
    "1 where a requirement is met, 0 in the clusters where it is not, which are all if none is "
    "named; missing without a verdict",
    (*_REQUIREMENT, "cluster"),
)
REQUIREMENT_SECONDS: Final = Family(
    "requirement_duration_seconds", "how long the check of a requirement took", _REQUIREMENT, "s"
)
CAUSE: Final = Family(
    "cause", "1 for each cause of failures that is known", ("cause", "certainty", "cluster")
)
STEP_SECONDS: Final = Family(
    "step_duration_seconds",
    "how long a step of the run took; without a cluster, one of the topology",
    ("step", "cluster"),
    "s",
)
RUN_SECONDS: Final = Family(
    "run_duration_seconds", "from the beginning to the end of the run", (), "s"
)
RUN_ENDED: Final = Family("run_ended_timestamp_seconds", "Unix time of the end of the run", (), "s")
RUN_COMPLETE: Final = Family(
    "run_complete", "1 where the run came to its end, 0 where it was interrupted or stopped"
)
RUN_ERRORS: Final = Family("run_errors", "errors that are no requirement's")
RUN_RETRIES: Final = Family("run_retries", "queries that were asked again")
REQUESTS: Final = Family("requests", "requests from a cluster in the traffic test", ("cluster",))
FAILURES: Final = Family(
    "request_failures", "requests from a cluster that were not answered", ("cluster",)
)
SHARE: Final = Family(
    "answer_share", "share of the answers from a destination", ("cluster", "destination")
)
EXPECTED_SHARE: Final = Family(
    "answer_share_expected",
    "share of the answers that the client's endpoint weights predict",
    ("cluster", "destination"),
)
LATENCY: Final = Family(
    "request_latency_seconds",
    "what part of the answers took no longer, as the client measured it",
    ("cluster", "version", "path", "quantile"),
    "s",
)
INFO: Final = Family(
    "info", "1, with the versions that were looked at", ("harness", "istio", "kubernetes", "proxy")
)

FAMILIES: Final = (
    *(RESULT, MET, REQUIREMENT_SECONDS, CAUSE, STEP_SECONDS),
    *(RUN_SECONDS, RUN_ENDED, RUN_COMPLETE, RUN_ERRORS, RUN_RETRIES),
    *(REQUESTS, FAILURES, SHARE, EXPECTED_SHARE, LATENCY, INFO),
)


@dataclass(frozen=True)
class MetricSample:
    """One value.

    Attributes:
        labels: values, in the order of the family's labels.
    """

    family: Family
    labels: tuple[str, ...]
    value: float

    @property
    def attributes(self) -> Mapping[str, str]:
        """Values of the labels by their names."""
        return dict(zip(self.family.labels, self.labels, strict=True))


@dataclass(frozen=True)
class MeshLabels:
    """What was looked at, by what, and how the mesh came to be there."""

    command: Command
    topology: str
    provider: str
    install: str

    def sample(self, family: Family, value: float, *own: str) -> MetricSample:
        """A value with these labels of the family's own."""
        mesh = (self.command, self.topology, self.provider, self.install)
        return MetricSample(family, (*mesh, *own), float(value))


def of_report(report: Report) -> tuple[MetricSample, ...]:
    """All that a report has to say in numbers."""
    mesh = MeshLabels("verify", report.topology.id, report.provider.name, report.provider.install)
    clusters = [each.name for each in report.topology.scenario.clusters]
    return (
        *of_requirements(mesh, clusters, report.requirements, report.causes),
        *(
            mesh.sample(REQUIREMENT_SECONDS, each.seconds, each.id, each.level)
            for each in report.requirements
            if each.seconds
        ),
        *_steps(mesh, report),
        *of_run(mesh, report.run.began, report.run.ended),
        mesh.sample(RUN_COMPLETE, not report.run.interrupted),
        mesh.sample(RUN_ERRORS, len(report.run.errors)),
        mesh.sample(RUN_RETRIES, sum(each.times for each in report.run.retries)),
        *_traffic(mesh, report),
        mesh.sample(
            INFO,
            1,
            *(report.versions.harness, report.versions.istio),
            *(report.versions.kubernetes, report.versions.proxy),
        ),
    )


def of_requirements(
    mesh: MeshLabels,
    clusters: Sequence[str],
    requirements: Iterable[RequirementReport],
    causes: Iterable[CauseReport],
) -> Iterator[MetricSample]:
    """What was found, by requirement and cluster, and why."""
    for each in requirements:
        for result in get_args(Result):
            yield mesh.sample(RESULT, each.result == result, each.id, each.level, result)
        if each.result in ("met", "unmet"):
            named = {found.cluster for found in each.findings} & {*clusters}
            bad = named or {*clusters} if each.result == "unmet" else frozenset()
            for cluster in clusters:
                yield mesh.sample(MET, cluster not in bad, each.id, each.level, cluster)
    for cause in causes:
        for cluster in cause.clusters or ("",):
            yield mesh.sample(CAUSE, 1, cause.id, cause.certainty, cluster)


def of_run(mesh: MeshLabels, began: datetime, ended: datetime) -> Iterator[MetricSample]:
    """When it was, and how long it took."""
    yield mesh.sample(RUN_SECONDS, (ended - began).total_seconds())
    yield mesh.sample(RUN_ENDED, ended.timestamp())


def _steps(mesh: MeshLabels, report: Report) -> Iterator[MetricSample]:
    """Steps that are repeated count together."""
    seconds: dict[tuple[str, str], float] = {}
    for each in report.steps:
        key = each.phase, each.cluster
        seconds[key] = seconds.get(key, 0.0) + each.seconds
    for (phase, cluster), value in seconds.items():
        yield mesh.sample(STEP_SECONDS, round(value, 3), phase, cluster)


def _traffic(mesh: MeshLabels, report: Report) -> Iterator[MetricSample]:
    for source in report.distribution:
        yield mesh.sample(REQUESTS, source.total + source.failures, source.cluster)
        yield mesh.sample(FAILURES, source.failures, source.cluster)
        for each in source.answers:
            yield mesh.sample(SHARE, each.share, source.cluster, each.name)
            yield mesh.sample(EXPECTED_SHARE, each.expected, source.cluster, each.name)
    for latency in report.latency:
        for quantile, milliseconds in _quantiles(latency):
            yield mesh.sample(
                LATENCY,
                round(milliseconds / 1000, 6),
                *(latency.cluster, latency.version, latency.path, quantile),
            )


def _quantiles(latency: Latency) -> Iterator[tuple[str, float]]:
    yield "0.5", latency.p50_ms
    yield "0.9", latency.p90_ms
    yield "0.99", latency.p99_ms


def exposition(samples: Iterable[MetricSample]) -> str:
    """The text that Prometheus reads."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for each in samples:
        family = each.family
        if family.name not in gauges:
            gauges[family.name] = Gauge(family.name, family.text, family.labels, registry=registry)
        gauges[family.name].labels(*each.labels).set(each.value)
    return generate_latest(registry).decode()


def write(samples: Iterable[MetricSample], path: Path) -> None:
    """Write a file, as a whole or not at all; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    write_text(exposition(samples), path)
