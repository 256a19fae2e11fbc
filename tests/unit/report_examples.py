"""Reports that unit tests share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from mesh_examples import SCENARIOS

from mesh_fixtures.report import Report, SeenTopology, build
from mesh_fixtures.report.model import (
    CauseReport,
    Figure,
    Found,
    Observation,
    Provider,
    RequirementReport,
    Result,
    Run,
    StepReport,
    Versions,
)
from mesh_fixtures.requirements import REQUIREMENTS, Requirement, by_id
from mesh_fixtures.scenario import Scenario

BEGAN = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC)
RESULTS: tuple[Result, ...] = ("met", "unmet", "inconclusive", "not applicable", "not run")
TWO_NETWORKS = SCENARIOS["multi-primary-multi-network"]
ONE_NETWORK = SCENARIOS["multi-primary"]
LEVELS = Counter(
    each.level
    for each in REQUIREMENTS
    if not each.upgrades and not each.missing_features(TWO_NETWORKS)
)
"""How many requirements a mesh on two networks that is not upgraded is verified by, by level."""

TRAFFIC: Mapping[str, Mapping[str, Figure]] = {
    "TRAFFIC-1": {
        "cluster1.requests": 200,
        "cluster1.failures": 0,
        **{
            f"{cluster}.latency_{kind}.{answering}": figure
            for cluster, answering, figures in (
                ("cluster1", "local.v1", (103, 1.2, 2.5, 9.75)),
                ("cluster1", "cross-network.v2", (97, 2.75, 6.0, 48.0)),
                ("cluster2", "local.v2", (103, 1.5, 2.5, 12.0)),
                ("cluster2", "cross-network.v1", (97, 3.0, 5.5, 1042.0)),
            )
            for kind, figure in zip(("answers", "p50_ms", "p90_ms", "p99_ms"), figures, strict=True)
        },
    },
    "TRAFFIC-2": {
        f"{cluster}.{kind}.{version}": figure
        for cluster in ("cluster1", "cluster2")
        for version, share in (("v1", 0.515), ("v2 (network2)", 0.485))
        for kind, figure in (
            ("share", share),
            ("expected_share", "1/2"),
            ("band", "65 to 135 of 200"),
        )
    },
}

CAUSE = CauseReport(
    id="services-not-exposed",
    certainty="likely",
    clusters=("cluster1",),
    statement="services are not exposed in cluster1 <b>&",
    evidence=(Observation(seen="no Gateway opens 15443", source="kubectl get gateways"),),
    remedy="apply multicluster/expose-services.yaml in cluster1",
    step="expose-services/cluster1",
    consequences=("GATEWAY-1", "TRAFFIC-1"),
    followed_by=("endpoints-missing: there are none",),
)
STEPS = tuple(
    StepReport(phase=phase, cluster=cluster, began=began, seconds=seconds, outcome="done")
    for phase, cluster, began, seconds in (
        ("networks", "", 0.0, 0.2),
        ("istiod", "cluster1", 0.2, 9.0),
        ("istiod", "cluster2", 0.4, 12.0),
        ("helloworld-ready", "cluster1", 12.5, 3.0),
    )
)


def report(
    results: Mapping[str, Result] | None = None,
    scenario: Scenario = TWO_NETWORKS,
    figures: Mapping[str, Mapping[str, Figure]] = TRAFFIC,
    **more: object,
) -> Report:
    """A report of the given results; what is not given is met.

    Args:
        more: attributes of `SeenTopology`, or `istio`, `provider`, `interrupted`, `errors`,
            `retries`.
    """
    given = results or {}
    checked = [
        checked_by(
            each.id,
            given.get(each.id, "met"),
            reason="no answer" if given.get(each.id) == "inconclusive" else "",
            seconds=1.5,
            findings=found(given.get(each.id)),
            figures=figures.get(each.id, {}),
        )
        for each in REQUIREMENTS
        if not each.missing_features(scenario)
    ]
    return build(seen(scenario, checked, **more), REQUIREMENTS)


def checked_by(requirement: str, result: Result, **more: object) -> RequirementReport:
    """What a test found of a requirement.

    Args:
        more: attributes of `RequirementReport`.
    """
    known = by_id(requirement)
    record = {"id": known.id, "level": known.level, "title": known.title, "result": result}
    return RequirementReport.model_validate(record | more)


def found(result: Result | None) -> tuple[Found, ...]:
    if result != "unmet":
        return ()
    return (Found(cluster="cluster1", expected="v1, v2", seen="v2 <i>", source="kubectl exec"),)


def seen(scenario: Scenario, checked: Iterable[RequirementReport], **more: object) -> SeenTopology:
    values = {
        "selected": frozenset(each.id for each in REQUIREMENTS),
        "causes": (),
        "steps": STEPS,
        **more,
    }
    istio, provider = values.pop("istio", "1.31.1"), values.pop("provider", "netns")
    run = Run(
        began=BEGAN,
        ended=BEGAN + timedelta(seconds=75),
        interrupted=str(values.pop("interrupted", "")),
        errors=values.pop("errors", ()),  # type: ignore[arg-type]
        retries=values.pop("retries", ()),  # type: ignore[arg-type]
        requests=200,
        disruptive=True,
        patience=float(str(values.pop("patience", 1))),
        patience_reason="--mesh-patience",
        bundle="any-diagnostics.tar.gz",
    )
    return SeenTopology(
        scenario=scenario,
        provider=Provider(name=str(provider), chosen="auto: root on Linux", install="istioctl"),
        versions=Versions(harness="0.1.0", istio=str(istio), kubernetes="1.36.3", images="built"),
        run=run,
        checked=tuple(checked),
        **values,  # type: ignore[arg-type]
    )


def applicable(scenario: Scenario) -> list[Requirement]:
    return [each for each in REQUIREMENTS if not each.missing_features(scenario)]


FEW = ("TRUST-1", "TRAFFIC-1", "RESILIENCE-1")


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Reports of a topology or another, of any results and some figures."""
    scenario = draw(st.sampled_from([ONE_NETWORK, TWO_NETWORKS]))
    results = {name: draw(st.sampled_from(RESULTS)) for name in FEW}
    figures = {
        "RESILIENCE-1": draw(
            st.dictionaries(
                st.sampled_from(["cluster1.failures", "helloworld.seconds_to_restore"]),
                st.one_of(st.integers(0, 100), st.floats(0, 100), st.just("odd")),
            )
        )
    }
    return report(
        results,
        scenario,
        figures,
        istio=draw(st.sampled_from(["", "1.31.1", "1.32.0"])),
        interrupted=draw(st.sampled_from(["", "it was interrupted"])),
    )
