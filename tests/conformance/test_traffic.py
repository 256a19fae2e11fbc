"""Traffic: HelloWorld answers from every cluster, in the shares that its endpoints predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.session.options import REQUESTS
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.expectations import count_by_destination, expected_shares
from mesh_fixtures.verdict.findings import Finding, require_none
from mesh_fixtures.verdict.statistics import SharesVerdict, judge_shares

Record = Callable[[str, object], None]


@pytest.mark.requirement("TRAFFIC-1")
def test_every_version_answers_every_client_without_an_error(
    view: MeshView, traffic: Mapping[str, TrafficSample], record_property: Record
) -> None:
    for cluster, sample in traffic.items():
        record_property(f"{cluster}.requests", sample.sent)
        record_property(f"{cluster}.failures", len(sample.failures))
        record_property(f"{cluster}.requests_per_second", round(sample.per_second, 1))
        for version, count in sample.versions.items():
            record_property(f"{cluster}.answers.{version}", count)
    require_none(finding for sample in traffic.values() for finding in _judged(view, sample))


def _judged(view: MeshView, sample: TrafficSample) -> Iterator[Finding]:
    if sample.failures or sample.cut_short:
        expected = f"{sample.requested} requests without an error"
        seen = f"{len(sample.failures)} errors in {sample.sent} requests"
        if sample.cut_short:
            seen += " before the time was over"
        shown = "; ".join(map(str, sample.failures[:3]))
        yield Finding(sample.cluster, expected, f"{seen}: {shown}", sample.source)
    wanted = {cluster.helloworld for cluster in view.scenario.clusters}
    if set(sample.versions) != wanted:
        expected = f"answers from {', '.join(sorted(wanted))} and no other version"
        yield Finding(sample.cluster, expected, _counted(sample), sample.source)


def _counted(sample: TrafficSample) -> str:
    counts = [f"{count} from {version}" for version, count in sample.versions.items()]
    return ", ".join(counts) or "none"


@pytest.mark.requirement("TRAFFIC-2")
def test_answers_are_shared_as_the_endpoints_weights_say(
    endpoints: Mapping[str, ClientEndpoints],
    traffic: Mapping[str, TrafficSample],
    record_property: Record,
) -> None:
    verdicts: dict[str, SharesVerdict] = {}
    findings: list[Finding] = []
    for cluster, sample in traffic.items():
        known = endpoints[cluster]
        shares = expected_shares(known.wanted, known.seen)
        if not shares or not sample.answers:
            seen = f"{known.seen}, and {len(sample.answers)} answers"
            expected = "endpoints in use and answers to compare"
            findings.append(Finding(cluster, expected, seen, sample.source))
            continue
        counts = count_by_destination(known.wanted, sample.instances)
        verdicts[cluster] = judge_shares(counts, shares)
    for cluster, verdict in verdicts.items():
        record_property(f"{cluster}.false_alarm", verdict.false_alarm)
        for share in verdict.shares:
            record_property(f"{cluster}.share.{share.name}", round(share.observed, 4))
            record_property(f"{cluster}.expected_share.{share.name}", str(share.share))
            record_property(f"{cluster}.band.{share.name}", str(share.band))
    findings += _outside(verdicts, endpoints)
    require_none(findings)
    _require_enough(verdicts)


def _require_enough(verdicts: Mapping[str, SharesVerdict]) -> None:
    """Raise ProbeError where so few answers came that no share could have been found wrong."""
    for cluster, verdict in verdicts.items():
        if verdict.is_vacuous:
            raise ProbeError(
                wanted="enough answers to judge their shares",
                seen=f"{verdict.trials} answers, of which any number would do: {verdict}",
                where=cluster,
                remedy=f"raise {REQUESTS.flag}; if requests failed, see TRAFFIC-1 first",
            )


def _outside(
    verdicts: Mapping[str, SharesVerdict], endpoints: Mapping[str, ClientEndpoints]
) -> Iterator[Finding]:
    for cluster, verdict in verdicts.items():
        if not verdict.holds:
            expected = f"shares of {verdict.trials} answers as its proxy's endpoint weights say"
            yield Finding(cluster, expected, str(verdict), endpoints[cluster].seen.source)
