"""Verdicts on written-down observations: each can hold, and each can fail. Traffic."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, advertised, checked, holds_unless, mesh

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.options import MINIMUM_REQUESTS, REQUESTS
from mesh_fixtures.probe.envoy import Balancing, Endpoint, Endpoints
from mesh_fixtures.probe.traffic import Answer, Failure, TrafficSample
from mesh_fixtures.requirements import discovery_2, traffic_1, traffic_2
from mesh_fixtures.requirements.second_service import ServiceProbes
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.expectations import Backend, destinations
from mesh_fixtures.verdict.statistics import judge_shares

# DISCOVERY-2, TRAFFIC-1, TRAFFIC-2 ----------------------------------------------------------------

MULTI = SCENARIOS["multi-primary-multi-network"]
PODS = (Backend("cluster1", "v1", "pod-v1", "10.101.0.5"), Backend("cluster2", "v2", "pod-v2", "x"))


def client_endpoints(*targets: tuple[str, int], pods: tuple[Backend, ...] = PODS) -> Any:
    wanted = destinations(MULTI, "cluster1", pods, [advertised("cluster2", "172.18.1.100")], {4})
    found = tuple(Endpoint(target, port, 1, True, "", "", 0) for target, port in targets)
    seen = ClientEndpoints("cluster1", wanted, Endpoints(SOURCE, True, found), 1.5)
    return {"cluster1": seen}


COMPLETE = client_endpoints(("10.101.0.5", 5000), ("172.18.1.100", 15443))


@pytest.mark.parametrize(
    ("endpoints", "finding"),
    [
        (COMPLETE, ""),
        (client_endpoints(("10.101.0.5", 5000)), "(missing 172.18.1.100:15443)"),
        (client_endpoints(("10.101.0.5", 5000), ("x", 5000)), "unexpected x:5000"),
        (
            client_endpoints(("10.101.0.5", 5000), pods=PODS[:1]),
            "cluster2: expected a ready pod of HelloWorld v2 as an endpoint",
        ),
    ],
)
def test_discovery_of_endpoints(endpoints: Mapping[str, ClientEndpoints], finding: str) -> None:
    outcome = checked(discovery_2, mesh(FakeView(MULTI), endpoints))
    assert holds_unless(finding, outcome)
    assert outcome.figures["cluster1.seconds_to_endpoints"] == 1.5


def traffic(failures: int = 0, **counts: int) -> Mapping[str, TrafficSample]:
    versions = [version for version, count in counts.items() for _ in range(count)]
    answers = tuple(Answer(n, each, f"pod-{each}", 0.01) for n, each in enumerate(versions, 1))
    failed = tuple(Failure(n, 28, 0, "timed out", 5) for n in range(failures))
    total = len(answers) + failures
    sample = TrafficSample(SOURCE, "cluster1", total, answers, failed, 2.0, cut_short=False)
    return {"cluster1": sample}


@pytest.mark.parametrize(
    ("sample", "finding"),
    [
        (traffic(v1=97, v2=103), ""),
        (traffic(1, v1=99, v2=100), "expected 200 requests without an error, but saw 1 errors in"),
        (traffic(v1=200), "expected answers from v1, v2 and no other version, but saw 200 from v1"),
        (traffic(v1=99, v2=100, v3=1), "but saw 100 from v2, 99 from v1, 1 from v3"),
        (traffic(200), "200 errors in 200 requests: request 0: curl exit 28 timed out"),
    ],
)
def test_errors_and_versions(sample: Mapping[str, TrafficSample], finding: str) -> None:
    outcome = checked(traffic_1, mesh(FakeView(MULTI), COMPLETE, sample))
    assert holds_unless(finding, outcome)
    assert outcome.figures["cluster1.requests"] == 200


def cut_short(each: int = 20, **seconds: float) -> Mapping[str, TrafficSample]:
    """Answers of each version that took so long, before the time for all requests was over."""
    answers = tuple(
        Answer(n, version, f"pod-{version}", took)
        for n, (version, took) in enumerate([*seconds.items()] * each, 1)
    )
    sample = TrafficSample(SOURCE, "cluster1", 200, answers, (), 60.0, cut_short=True)
    return {"cluster1": sample}


def test_requests_that_hang_are_an_outage_with_their_address() -> None:
    outcome = checked(traffic_1, mesh(FakeView(MULTI), COMPLETE, cut_short(v1=0.01, v2=2.8)))
    wanted = "20 answers of v2 (network2) by 172.18.1.100:15443 took 2.8 s each (median)"
    assert holds_unless(wanted, outcome)
    assert outcome.findings[0].about.clusters == ("cluster2",)


@pytest.mark.parametrize(("answers", "result"), [(40, "unmet"), (10, "inconclusive")])
def test_a_destination_that_never_answers_is_an_outage_though_others_do_in_its_place(
    answers: int, result: str
) -> None:
    outcome = checked(traffic_1, mesh(FakeView(MULTI), COMPLETE, cut_short(answers, v1=10.0)))
    assert outcome.result == result
    for finding in outcome.findings[:1]:
        assert f"{answers} answers before the time was over" in finding.seen
        assert "no answer of v2 (network2) by 172.18.1.100:15443" in finding.seen
        assert finding.about.clusters == ("cluster2",)


@pytest.mark.parametrize("seconds", [1.5, 0.3])
def test_a_machine_on_which_all_answers_are_late_is_no_verdict(seconds: float) -> None:
    late = cut_short(v1=seconds, v2=seconds)
    outcome = checked(traffic_1, mesh(FakeView(MULTI), COMPLETE, late))
    assert outcome.result == "inconclusive"
    assert outcome.figures["cluster1.requests"] == 40


def test_a_time_out_names_the_address_that_never_answered() -> None:
    outcome = checked(traffic_1, mesh(FakeView(MULTI), COMPLETE, traffic(3, v1=197)))
    assert "no answer of v2 (network2) by 172.18.1.100:15443" in str(outcome.findings[0])


def preferring(*, healthy: bool = True) -> Mapping[str, ClientEndpoints]:
    """A client whose endpoints of the other network are in reserve."""
    far = Endpoint("172.18.1.100", 15443, 1, healthy, "" if healthy else "UNHEALTHY", "", 1)
    near = Endpoint("10.101.0.5", 5000, 1, True, "", "", 0)
    known = COMPLETE["cluster1"]
    return {"cluster1": replace(known, seen=Endpoints(SOURCE, True, (near, far)))}


@pytest.mark.parametrize(
    ("endpoints", "usual", "reserve", "finding"),
    [
        (preferring(), traffic(v1=200), traffic(v1=20, v2=20), ""),
        (preferring(), traffic(v1=200), traffic(v1=40), "expected answers from v2, which clients"),
        (preferring(), traffic(v1=200), traffic(3, v1=20), "v2 being in reserve, but saw 3 errors"),
        (preferring(), traffic(1, v1=199), traffic(v1=20, v2=20), "saw 1 errors in 200"),
        (preferring(healthy=False), traffic(v1=200), {}, "answers from v1, v2 and no other"),
        (COMPLETE, traffic(v1=200), {}, "expected answers from v1, v2 and no other version"),
    ],
)
def test_what_is_held_in_reserve_has_to_answer_without_the_preference(
    endpoints: Mapping[str, ClientEndpoints],
    usual: Mapping[str, TrafficSample],
    reserve: Mapping[str, TrafficSample],
    finding: str,
) -> None:
    probes = ServiceProbes(
        fresh_connections=lambda view: nullcontext(),
        client_endpoints=lambda view, seconds, service: endpoints,
        requests=lambda kube, count, **options: reserve[kube.name],
    )
    outcome = checked(traffic_1, mesh(FakeView(MULTI), endpoints, usual), probes)
    assert holds_unless(finding, outcome)
    noted = "cluster1: clients prefer other endpoints, and use v2 only where those fail"
    assert bool(outcome.notes) == (not finding)
    assert all(each.startswith(noted) for each in outcome.notes)


BY_HASH = Balancing(by_hash=True)
BY_LOCALITY = Balancing(by_locality=True)
BY_AGE = Balancing(by_age=True)
NEAR = client_endpoints(("10.101.0.5", 5000))


def choosing(
    endpoints: Mapping[str, ClientEndpoints], balancing: Balancing
) -> Mapping[str, ClientEndpoints]:
    return {name: replace(each, balancing=balancing) for name, each in endpoints.items()}


def without_preference(
    endpoints: Mapping[str, ClientEndpoints], sample: Mapping[str, TrafficSample]
) -> ServiceProbes:
    """What clients have, and what answers them, by the service of which they prefer no server."""
    return ServiceProbes(
        fresh_connections=lambda view: nullcontext(),
        client_endpoints=lambda view, seconds, service: endpoints,
        requests=lambda kube, count, **options: sample[kube.name],
    )


@pytest.mark.parametrize(
    ("endpoints", "then", "noted"),
    [
        (choosing(COMPLETE, BY_HASH), traffic(v1=20, v2=20), "clients keep to servers that a hash"),
        (choosing(NEAR, BY_LOCALITY), traffic(v1=20, v2=20), "clients choose servers by weights"),
        (choosing(COMPLETE, BY_AGE), traffic(v1=20, v2=20), "clients warm new servers up"),
        (choosing(COMPLETE, BY_HASH), traffic(v1=40), ""),
        (choosing(NEAR, BY_LOCALITY), traffic(v1=40), ""),
    ],
)
def test_what_clients_do_not_choose_has_to_answer_without_the_preference(
    endpoints: Mapping[str, ClientEndpoints], then: Mapping[str, TrafficSample], noted: str
) -> None:
    probes = without_preference(COMPLETE, then)
    outcome = checked(traffic_1, mesh(FakeView(MULTI), endpoints, traffic(v1=200)), probes)
    assert holds_unless("" if noted else "expected answers from v2, which clients", outcome)
    assert [noted in each and "by which v2 gets no request" in each for each in outcome.notes] == (
        [True] if noted else []
    )


@pytest.mark.parametrize(
    ("endpoints", "then", "finding"),
    [
        (choosing(NEAR, BY_LOCALITY), COMPLETE, ""),
        (choosing(NEAR, BY_LOCALITY), NEAR, "(missing 172.18.1.100:15443)"),
        (choosing(NEAR, BY_HASH), COMPLETE, "(missing 172.18.1.100:15443)"),
        (
            choosing(client_endpoints(("10.101.0.5", 5000), ("x", 5000)), BY_LOCALITY),
            COMPLETE,
            "unexpected x:5000",
        ),
    ],
)
def test_what_weights_of_localities_leave_out_has_to_be_there_without_them(
    endpoints: Mapping[str, ClientEndpoints], then: Mapping[str, ClientEndpoints], finding: str
) -> None:
    probes = ServiceProbes(lambda view: nullcontext(), lambda view, seconds, service: then)
    outcome = checked(discovery_2, mesh(FakeView(MULTI), endpoints), probes)
    assert holds_unless(finding, outcome)
    assert bool(outcome.notes) == (not finding)


@pytest.mark.parametrize(
    ("then", "finding"),
    [(traffic(v1=97, v2=103), ""), (traffic(v1=198, v2=2), "v1 198 (wanted 65 to 135 of 200)")],
)
@pytest.mark.parametrize("balancing", [BY_HASH, BY_LOCALITY, BY_AGE])
def test_shares_of_clients_that_choose_by_something_else_are_those_without_it(
    balancing: Balancing, then: Mapping[str, TrafficSample], finding: str
) -> None:
    probes = without_preference(COMPLETE, then)
    usual = mesh(FakeView(MULTI), choosing(COMPLETE, balancing), traffic(v1=200))
    outcome = checked(traffic_2, usual, probes)
    assert holds_unless(finding, outcome)
    assert bool(outcome.notes) == (not finding)


@pytest.mark.parametrize(
    ("sample", "finding"),
    [
        (traffic(v1=97, v2=103), ""),
        (traffic(v1=198, v2=2), "v1 198 (wanted 65 to 135 of 200), v2 (network2) 2 (wanted"),
        (traffic(v1=200), "v2 (network2) 0"),
        (traffic(v1=99, v2=100, v3=1), "unexpected pod-v3 1 (wanted 0 to 0 of 200)"),
        (traffic(200), "expected endpoints in use and answers to compare"),
    ],
)
def test_shares(sample: Mapping[str, TrafficSample], finding: str) -> None:
    outcome = checked(traffic_2, mesh(FakeView(MULTI), COMPLETE, sample))
    assert holds_unless(finding, outcome)


def test_shares_of_too_few_answers_are_an_error() -> None:
    few = mesh(FakeView(MULTI), COMPLETE, traffic(30, v1=20))
    outcome = checked(traffic_2, few)
    assert outcome.result == "inconclusive"
    assert outcome.figures["cluster1.share.v1"] == 1
    with pytest.raises(ProbeError, match="cluster1: wanted enough answers") as raised:
        outcome.require()
    assert "20 answers" in raised.value.seen
    assert raised.value.remedy.startswith(f"raise {REQUESTS.flag};")


@pytest.mark.parametrize("versions", range(2, 30))
def test_the_fewest_requests_allowed_can_show_a_wrong_share(versions: int) -> None:
    shares = {f"v{at}": Fraction(1, versions) for at in range(versions)}
    assert not judge_shares({"v0": MINIMUM_REQUESTS}, shares).holds
