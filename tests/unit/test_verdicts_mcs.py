"""Verdicts on written-down observations: each can hold, and each can fail. Exported services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import MORE, SCENARIOS
from verdicts import SOURCE, FakeView, advertised, checked, holds_unless, mesh

from mesh_fixtures.addresses import split_port, with_port
from mesh_fixtures.contract import GUIDE_NAMES
from mesh_fixtures.probe.envoy import Endpoint, Endpoints
from mesh_fixtures.probe.mcs import MCSSettings
from mesh_fixtures.probe.name_lookups import AskedNames
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.probe.workloads import Workload
from mesh_fixtures.requirements import Outcome, mcs_1
from mesh_fixtures.requirements.exported_services import ExportedServices, exported_service
from mesh_fixtures.scenario import Scenario

TWO = MORE["multi-primary-multi-network-mcs"]
REMOTE = MORE["primary-remote-multi-network-mcs"]
THREE = SCENARIOS["three-clusters-two-networks"].model_copy(update={"mcs": True})

ON = MCSSettings(discovery=True, host=True)
OFF = MCSSettings()
DISCOVERY = MCSSettings(discovery=True)
LOCAL = MCSSettings(discovery=True, host=True, cluster_local=True)

NAME_1 = "helloworld-exported-1.sample.svc.cluster.local"
NAME_2 = "helloworld-exported-2.sample.svc.cluster.local"
SET_1 = "helloworld-exported-1.sample.svc.clusterset.local"
SET_2 = "helloworld-exported-2.sample.svc.clusterset.local"

UNRESOLVED = Failure(1, 6, 0, "Could not resolve host", 0.01)
REFUSED = Failure(1, 0, 503, "no healthy upstream", 0.01)


def answer_of(cluster: str) -> Answer:
    return Answer(1, f"v{cluster[-1]}", f"hello-{cluster[-1]}", 0.01)


def workload(cluster: str) -> Workload:
    at = cluster[-1]
    found = pod(f"hello-{at}", ip=f"10.{at}.0.5")
    return Workload(SOURCE, cluster, "helloworld", f"v{at}", found, None)


def target(scenario: Scenario, client: str, cluster: str) -> str:
    """Where requests of a client to a cluster go."""
    at = cluster[-1]
    return f"10.{at}.0.5:5000" if scenario.same_network(client, cluster) else f"192.0.2.{at}:15443"


def endpoint(where: str, priority: int = 0) -> Endpoint:
    address, port = split_port(where)
    return Endpoint(address, int(port), 1, True, "", "", priority)


def known(scenario: Scenario, settings: MCSSettings, client: str, host: str) -> set[str]:
    """Clusters of which istiod gives a client endpoints of a host."""
    at = host.partition(".")[0][-1]
    exporting = f"cluster{at}"
    everywhere = {each.name for each in scenario.clusters}
    if host.endswith(".clusterset.local"):
        return {client, exporting} if settings.host else set()
    if not settings.discovery:
        return everywhere
    return {client} if settings.cluster_local else {client, exporting}


class Servers:
    """Pods behind the names that clients ask by: each in turn that istiod tells them of, and what
    is said of others.
    """

    def __init__(
        self,
        scenario: Scenario,
        settings: Mapping[str, MCSSettings],
        held: Mapping[tuple[str, str], set[str]],
        answers: Mapping[tuple[str, str], Answer | Failure],
    ) -> None:
        self.scenario, self.settings = scenario, settings
        self.held_instead, self.answers = held, answers
        self.asked: list[tuple[str, str]] = []

    def clusters(self, client: str, host: str) -> list[str]:
        usual = known(
            self.scenario, self.settings[self.scenario.control_plane_of(client)], client, host
        )
        return sorted(self.held_instead.get((client, host), usual))

    def answer(self, client: str, host: str) -> Answer | Failure:
        if (client, host) in self.answers:
            return self.answers[client, host]
        self.asked.append((client, host))
        turn = self.asked.count((client, host))
        serving = self.clusters(client, host)
        return answer_of(serving[turn % len(serving)]) if serving else REFUSED


def check(
    scenario: Scenario = TWO,
    settings: Mapping[str, MCSSettings] | MCSSettings = ON,
    *,
    held: Mapping[tuple[str, str], set[str]] = {},
    answers: Mapping[tuple[str, str], Answer | Failure] = {},
    tables: Mapping[str, Mapping[str, str] | None] = {},
    undefined: Mapping[str, tuple[str, ...]] = {},
    external: bool = False,
    made_here: bool = True,
    auto: bool = False,
    reserve: bool = False,
    of_ipv6: bool = False,
    sent: bool = False,
) -> tuple[Outcome, Servers]:
    """The outcome, and who was asked.

    Args:
        settings: of all istiods, or of that of each primary.
        held: clusters of which a client's proxy has endpoints, in place of what istiod gives it.
        answers: that a client gets in any case.
        tables: addresses that a client's proxy resolves names to besides; None without a table.
        auto: whether istiods export every service from every cluster.
        reserve: whether endpoints of other clusters are used only where others fail.
        of_ipv6: whether gateways have addresses of IPv6, too, as no client has.
        sent: whether istiods send these all the same.
    """
    told = {each.name: settings for each in scenario.primaries}
    by_primary: Any = told if isinstance(settings, MCSSettings) else settings
    servers = Servers(scenario, by_primary, held, answers)
    names = [each.name for each in scenario.clusters]
    exported = {each: exported_service(at + 1) for at, each in enumerate(names)}
    imports = {
        cluster: {
            service: (f"198.51.100.{at + 1}",) for at, service in enumerate(exported.values())
        }
        for cluster in names
    }

    @contextmanager
    def made(view: Any, imported: bool) -> Iterator[ExportedServices]:
        yield ExportedServices(exported, imports if imported else {}, made_here and imported)

    def ask(kube: Any, hosts: Any) -> AskedNames:
        table = {
            host: frozenset(imports[kube.name][host.partition(".")[0]])
            for host in hosts
            if host.endswith(".clusterset.local")
        }
        other = tables.get(kube.name, {})
        changed = {name: frozenset({address}) for name, address in (other or {}).items()}
        return AskedNames(
            SOURCE,
            None if other is None else {**table, **changed},
            {host: servers.answer(kube.name, host) for host in hosts},
        )

    def hold(kube: Any, hosts: Any) -> Mapping[str, Endpoints]:
        return {
            host: Endpoints(
                SOURCE,
                bool(clusters := servers.clusters(kube.name, host)),
                tuple(
                    endpoint(target(scenario, kube.name, each), int(reserve and each != kube.name))
                    for each in clusters
                )
                + tuple(
                    endpoint(with_port(f"2001:db8::{each[-1]}", 15443))
                    for each in clusters
                    if sent and not scenario.same_network(kube.name, each)
                ),
            )
            for host in hosts
        }

    probes = mcs_1.Probes(
        settings=lambda kube: {"istiod-1": by_primary[kube.name]},
        undefined=lambda kube: undefined.get(kube.name, ()),
        made=made,
        exporting=lambda kube, services: frozenset(
            each for each in services if auto or each == exported[kube.name]
        ),
        workloads=lambda kube: [workload(kube.name)],
        advertised=lambda kube: tuple(
            advertised(each.name, f"{start}{each.name[-1]}", network=each.network)
            for each in scenario.clusters
            for start in ("192.0.2.", *(("2001:db8::",) if of_ipv6 else ()))
        ),
        held=hold,
        ask=ask,
    )
    view: Any = FakeView(scenario, external=external)
    view_lab = SimpleNamespace(**vars(view.lab), sample_namespace="sample", names=GUIDE_NAMES)
    wrapped: Any = SimpleNamespace(
        kube=view.kube,
        data_planes=view.data_planes,
        each=view.each,
        lab=view_lab,
        scenario=scenario,
    )
    return checked(mcs_1, mesh(wrapped), probes), servers


@pytest.mark.parametrize("scenario", [TWO, REMOTE, THREE], ids=lambda each: each.id)
def test_a_mesh_where_what_is_exported_is_known(scenario: Scenario) -> None:
    outcome, servers = check(scenario)
    assert outcome.result == "met", outcome.findings
    assert {client for client, _ in servers.asked} == {each.name for each in scenario.clusters}
    assert outcome.figures["cluster1.names"] == 2 * len(scenario.clusters)
    assert outcome.figures["rounds"] == mcs_1.LEAST_ROUNDS
    (note,) = outcome.notes
    assert "ServiceImports" in note
    assert check(scenario, made_here=False)[0].notes == ()


@pytest.mark.parametrize("sent", [True, False])
def test_clients_need_gateways_of_their_own_families_only(sent: bool) -> None:
    assert check(of_ipv6=True, sent=sent)[0].result == "met"
    assert holds_unless(
        "192.0.2.2:15443 of cluster2",
        check(of_ipv6=True, sent=sent, held={("cluster1", NAME_2): {"cluster1"}})[0],
    )


def test_names_in_the_cluster_set_may_leave_out_what_the_client_does_not_export() -> None:
    by_the_specification = {
        ("cluster1", SET_2): {"cluster2"},
        ("cluster2", SET_1): {"cluster1"},
    }
    assert check(held=by_the_specification)[0].result == "met"


@pytest.mark.parametrize(
    ("held", "finding"),
    [
        (
            {("cluster1", NAME_2): {"cluster1"}},
            (
                f"cluster1: expected endpoints of {NAME_2}, exported from cluster2, in "
                "Sleep's proxy: 192.0.2.2:15443 of cluster2, but saw 10.1.0.5:5000"
            ),
        ),
        (
            {("cluster1", NAME_1): {"cluster1", "cluster2"}},
            (
                f"cluster1: expected no endpoint of {NAME_1}, exported from cluster1, but those of "
                "cluster1, but saw 192.0.2.2:15443 of cluster2"
            ),
        ),
        (
            {("cluster2", SET_1): {"cluster2"}},
            (
                f"cluster2: expected endpoints of {SET_1}, exported from cluster1, in "
                "Sleep's proxy: 192.0.2.1:15443 of cluster1, but saw 10.2.0.5:5000"
            ),
        ),
        ({("cluster2", SET_1): set()}, "but saw no such Envoy cluster"),
    ],
)
def test_endpoints_that_are_not_known_or_are_known_in_spite_of_no_export(
    held: Mapping[tuple[str, str], set[str]], finding: str
) -> None:
    assert holds_unless(finding, check(held=held)[0])


@pytest.mark.parametrize(
    ("key", "answer", "finding"),
    [
        (("cluster1", SET_2), UNRESOLVED, "but saw curl exit 6 Could not resolve host"),
        (("cluster1", NAME_1), REFUSED, "but saw HTTP 503 no healthy upstream"),
        (
            ("cluster1", SET_1),
            answer_of("cluster2"),
            (
                f"cluster1: expected an answer of cluster1 by {SET_1}, exported from cluster1, "
                "but saw an answer of hello-2 in cluster2"
            ),
        ),
        (("cluster1", SET_1), Answer(1, "v9", "x", 0.1), "of x in no cluster of the mesh"),
        (
            ("cluster1", SET_2),
            answer_of("cluster1"),
            (
                f"cluster1: expected answers of cluster2 by {SET_2}, exported from cluster2, but "
                "saw none of cluster2 among 24"
            ),
        ),
    ],
)
def test_answers_that_do_not_come_or_come_from_elsewhere(
    key: tuple[str, str], answer: Answer | Failure, finding: str
) -> None:
    assert holds_unless(finding, check(answers={key: answer})[0])


def test_a_client_that_prefers_its_own_locality_need_not_be_answered_by_others() -> None:
    own = {
        (client, name): answer_of(client)
        for client, name in (("cluster1", NAME_2), ("cluster2", NAME_1))
    }
    assert check(answers=own)[0].result == "unmet"
    outcome, _ = check(answers={**own, ("cluster1", SET_2): answer_of("cluster1")}, reserve=True)
    assert outcome.result == "met"


def test_a_name_in_the_cluster_set_stands_for_the_addresses_of_its_import() -> None:
    finding = f"cluster2: expected {SET_1} to stand for 198.51.100.1, as its ServiceImport has it"
    assert holds_unless(finding, check(tables={"cluster2": {SET_1: "10.96.0.7"}})[0])


def test_what_nothing_resolves_is_no_fault_of_istiods() -> None:
    outcome, _ = check(
        answers={("cluster2", SET_1): UNRESOLVED, ("cluster2", SET_2): UNRESOLVED},
        tables={"cluster2": None},
    )
    assert outcome.result == "met"
    assert any("nothing resolves names in clusterset.local" in each for each in outcome.notes)
    outcome, _ = check(answers={("cluster2", NAME_1): UNRESOLVED}, tables={"cluster2": None})
    assert outcome.result == "unmet"


def test_an_istiod_that_takes_no_notice_of_exports() -> None:
    different = {"cluster1": ON, "cluster2": OFF}
    outcome, _ = check(settings=different)
    assert holds_unless(
        "cluster2: expected its istiod to have ENABLE_MCS_SERVICE_DISCOVERY", outcome
    )
    assert holds_unless(
        f"cluster2: expected no endpoint of {NAME_2}, exported from",
        outcome,
    )
    assert {each.cluster for each in outcome.findings} == {"cluster2"}


def test_what_istiods_export_by_themselves_is_exported_everywhere() -> None:
    every = {
        (client, name): {"cluster1", "cluster2"}
        for client in ("cluster1", "cluster2")
        for name in (NAME_1, NAME_2, SET_1, SET_2)
    }
    outcome, _ = check(held=every, auto=True, external=True)
    assert outcome.result == "met"
    assert "helloworld-exported-1 is exported from cluster2, too, by istiod" in outcome.notes
    finding = f"cluster1: expected endpoints of {NAME_1}, exported from cluster1 and cluster2"
    assert holds_unless(finding, check(auto=True)[0])


def test_in_an_existing_mesh_each_istiod_decides_for_its_clients() -> None:
    outcome, _ = check(settings={"cluster1": ON, "cluster2": OFF}, external=True)
    assert outcome.result == "met"
    assert any("istiod-1 does not have ENABLE_MCS_HOST=true" in each for each in outcome.notes)


@pytest.mark.parametrize(("scenario", "most"), [(TWO, mcs_1.MOST_ROUNDS), (THREE, 37)])
def test_the_more_servers_the_more_rounds_until_one_counts_as_missed(
    scenario: Scenario, most: int
) -> None:
    silent = {("cluster1", NAME_2): answer_of("cluster1")}
    outcome, _ = check(scenario, OFF, external=True, answers=silent)
    assert {each.seen.rpartition(" ")[2] for each in outcome.findings} == {str(most)}
    assert outcome.figures["rounds"] == most


def test_an_existing_mesh_without_names_in_the_cluster_set() -> None:
    outcome, servers = check(settings=DISCOVERY, external=True)
    assert outcome.result == "met"
    assert outcome.notes == ()
    assert {host for _, host in servers.asked} == {NAME_1, NAME_2}
    assert check(settings=DISCOVERY)[0].result == "unmet"


def test_kubernetes_names_stand_for_the_own_cluster_where_istiod_has_it_so() -> None:
    assert check(settings=LOCAL)[0].result == "met"
    beyond = {("cluster1", NAME_2): {"cluster1", "cluster2"}}
    finding = (
        f"cluster1: expected no endpoint of {NAME_2}, exported from cluster2, but those of cluster1"
    )
    assert holds_unless(finding, check(settings=LOCAL, held=beyond)[0])


def test_kinds_that_are_not_defined() -> None:
    outcome, servers = check(undefined={"cluster2": ("ServiceExport", "ServiceImport")})
    assert holds_unless("but saw no ServiceExport and no ServiceImport", outcome)
    assert not servers.asked


def test_without_an_istiod_nothing_is_judged() -> None:
    probes = mcs_1.Probes(undefined=lambda kube: (), settings=lambda kube: {})
    assert checked(mcs_1, mesh(FakeView(TWO)), probes).result == "inconclusive"
