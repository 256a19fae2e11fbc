"""Services of other clusters that an istiod holds nothing of: what is lost, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_kube import FakeKube, pod, result
from mesh_examples import SCENARIOS
from verdicts import FakeView, checked, found, mesh

from mesh_fixtures import patience
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.kube import EndpointSlice, Meta, Namespace, Pod, Resource, Service
from mesh_fixtures.kube.resources import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES
from mesh_fixtures.probe.istiod import SYNCED
from mesh_fixtures.probe.lost_services import (
    Addresses,
    HeldServices,
    Look,
    LostServices,
    expected,
    in_order,
    in_short,
    is_followed,
    look,
    missing,
    of_istiods,
    of_slices,
    read_services,
    still_missing,
)
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements import Outcome, discovery_3
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict import convergence

SOURCE = result().source
PRIMARIES = SCENARIOS["multi-primary-multi-network"]
REMOTE = SCENARIOS["primary-remote-multi-network"]
HERE, THERE = "cluster1", "cluster2"
SERVICE = "shop/cart"
HOST = "cart.shop.svc.cluster.local"
ADDRESS = "10.2.0.5"


def endpoint(*addresses: str, **changes: Any) -> dict[str, Any]:
    """As istiod shows that of a pod that takes traffic."""
    return {"Addresses": [*addresses], "NodeName": "node-1", "HealthStatus": 1, **changes}


def answer(host: str, shards: Mapping[str, Any], namespace: str = "shop") -> str:
    return json.dumps({host: {namespace: {"Shards": shards}}})


# What an istiod holds ----------------------------------------------------------------------------


def test_services_are_read_by_cluster() -> None:
    seen = read_services(
        SOURCE,
        "istiod-1",
        answer(
            HOST,
            {
                "Kubernetes/cluster1": [endpoint("10.1.0.5"), endpoint("10.1.0.6", HealthStatus=2)],
                "Kubernetes/cluster2": [endpoint("10.2.0.5", "fd00::5")],  # dual stack
            },
        ),
    )
    assert seen.addresses == {
        "cluster1": {SERVICE: {"10.1.0.5", "10.1.0.6"}},
        "cluster2": {SERVICE: {"10.2.0.5", "fd00::5"}},
    }
    assert seen.serving == {"cluster1": {SERVICE}, "cluster2": {SERVICE}}


@pytest.mark.parametrize(
    "endpoints",
    [
        [endpoint(ADDRESS, HealthStatus=2)],  # not ready
        [endpoint(ADDRESS, HealthStatus=4)],  # going away
        [endpoint(ADDRESS, NodeName="")],  # of a WorkloadEntry, or of an EndpointSlice by hand
        [],
        None,
    ],
)
def test_only_pods_that_take_traffic_make_a_service_expected(endpoints: Any) -> None:
    seen = read_services(SOURCE, "istiod-1", answer(HOST, {"Kubernetes/cluster2": endpoints}))
    assert seen.serving == {}


@pytest.mark.parametrize(
    ("host", "shard"),
    [
        ("api.example.com", "External/cluster2"),  # a ServiceEntry
        ("api.example.com", "Kubernetes/cluster2"),
        (HOST, "External/cluster2"),  # a ServiceEntry of the service's name
        ("cart.shop.svc.clusterset.local", "Kubernetes/cluster2"),  # where it is imported
    ],
)
def test_what_is_no_service_of_kubernetes_is_not_looked_at(host: str, shard: str) -> None:
    seen = read_services(SOURCE, "istiod-1", answer(host, {shard: [endpoint(ADDRESS)]}))
    assert (seen.addresses, seen.serving) == ({}, {})


def test_services_are_known_whatever_the_cluster_domain() -> None:
    shards = {"Kubernetes/cluster2": [endpoint(ADDRESS)]}
    seen = read_services(SOURCE, "istiod-1", answer("cart.shop.svc.corp.test", shards))
    assert seen.serving == {"cluster2": {SERVICE}}


@pytest.mark.parametrize("said", ["{}", "null"])
def test_an_istiod_may_hold_nothing(said: str) -> None:
    assert read_services(SOURCE, "istiod-1", said).addresses == {}


def test_what_is_no_answer_is_an_error() -> None:
    with pytest.raises(ProbeError, match="endpoints that istiod holds"):
        read_services(SOURCE, "istiod-1", "404 page not found")


# What a cluster has -------------------------------------------------------------------------------


def held(cluster: str, services: Mapping[str, Iterable[str]], name: str = "istiod-1") -> Any:
    addresses = {service: frozenset(each) for service, each in services.items()}
    return HeldServices(SOURCE, name, {cluster: addresses}, {cluster: frozenset(addresses)})


def test_a_cluster_has_what_all_of_its_istiods_know() -> None:
    one = held(THERE, {SERVICE: {"a"}, "shop/new": {"b"}})
    revision = held(THERE, {SERVICE: {"a", "c"}}, "istiod-canary")  # selects fewer namespaces
    assert of_istiods(THERE, [one, revision]) == {SERVICE: {"a", "c"}}
    assert of_istiods(THERE, [one, replace(revision, addresses={}, serving={})]) == {}
    assert of_istiods(THERE, []) == {}


def slice_of(*endpoints: Mapping[str, Any], **labels: str) -> EndpointSlice:
    named = {"kubernetes.io/service-name": "cart", **labels}
    meta = {"name": "cart-1", "namespace": "shop", "labels": named}
    return EndpointSlice.read({"metadata": meta, "endpoints": endpoints})


POD = {"addresses": [ADDRESS], "targetRef": {"kind": "Pod", "name": "cart-1"}}


@pytest.mark.parametrize(
    ("made", "has"),
    [
        (slice_of(POD), {SERVICE: {ADDRESS}}),
        (slice_of({**POD, "conditions": {"ready": True}}), {SERVICE: {ADDRESS}}),
        (slice_of({**POD, "conditions": {"ready": False}}), {}),
        (slice_of({"addresses": [ADDRESS]}), {}),
        (slice_of(), {}),
        (slice_of(POD, **{"multicluster.kubernetes.io/service-name": "cart"}), {}),
        (slice_of(POD, **{"kubernetes.io/service-name": ""}), {}),
    ],
)
def test_a_cluster_without_an_istiod_has_what_its_slices_have(
    made: EndpointSlice, has: Addresses
) -> None:
    assert of_slices([made]) == has


# What is missing ----------------------------------------------------------------------------------


def seen(*held_here: HeldServices, has: Addresses | None, scenario: Scenario = PRIMARIES) -> Look:
    there = {} if scenario is REMOTE else {THERE: ()}
    return Look({HERE: held_here, **there}, {HERE: {}, THERE: has})


def has(*addresses: str) -> Addresses:
    return {SERVICE: frozenset(addresses)}


@pytest.mark.parametrize(
    ("holds", "cluster_has", "lost"),
    [
        ({}, has(ADDRESS), True),
        ({SERVICE: {"10.2.0.4"}}, has(ADDRESS), True),
        ({SERVICE: {ADDRESS}}, has(ADDRESS), False),
        ({SERVICE: {ADDRESS}}, has(ADDRESS, "10.2.0.6"), False),  # another one is on its way
        ({SERVICE: {"fd00::5"}}, has(ADDRESS, "fd00::5"), False),
        ({SERVICE: {ADDRESS}, "shop/old": {"10.2.0.9"}}, has(ADDRESS), False),
        ({SERVICE: {ADDRESS}}, {}, False),
        ({}, None, False),
    ],
)
@pytest.mark.parametrize("scenario", [PRIMARIES, REMOTE])
def test_a_service_is_missed_that_an_istiod_holds_no_address_of(
    holds: Mapping[str, set[str]], cluster_has: Addresses | None, lost: bool, scenario: Scenario
) -> None:
    now = seen(held(THERE, holds), has=cluster_has, scenario=scenario)
    assert [(each.reader, each.istiod, each.cluster) for each in missing(scenario, now)] == [
        (HERE, "istiod-1", THERE)
    ] * lost


def test_each_istiod_is_looked_at_by_itself() -> None:
    now = seen(held(THERE, has(ADDRESS)), held(THERE, {}, "istiod-2"), has=has(ADDRESS))
    assert [each.istiod for each in missing(PRIMARIES, now)] == ["istiod-2"]


def test_an_istiod_is_not_asked_for_its_own_cluster_or_for_others() -> None:
    here = Look({HERE: (held(THERE, {}),)}, {HERE: has("10.1.0.5"), "cluster9": has("10.9.0.5")})
    assert missing(PRIMARIES, here) == ()


# What changes all the time ------------------------------------------------------------------------

MISSED = LostServices(SOURCE, HERE, "istiod-1", THERE, has(ADDRESS))


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (seen(held(THERE, {}), has=has(ADDRESS)), has(ADDRESS)),
        (seen(held(THERE, {}), has=has("10.2.0.6")), has(ADDRESS, "10.2.0.6")),
        (seen(held(THERE, has(ADDRESS)), has=has(ADDRESS)), {}),
        (seen(held(THERE, has(ADDRESS)), has=has("10.2.0.6")), {}),  # it is a little behind
        (seen(held(THERE, {}), has={}), {}),
        (seen(held(THERE, {}), has={"shop/new": frozenset({"10.2.0.8"})}), {}),
        (seen(held(THERE, {}, "istiod-2"), has=has(ADDRESS)), {}),  # it was restarted
        (seen(held(THERE, {}), has=None), {}),
    ],
)
def test_only_what_is_missed_whenever_it_is_looked_is_lost(now: Look, left: Addresses) -> None:
    assert [each.services for each in still_missing([MISSED], now)] == [left] * bool(left)


# What need not be held ----------------------------------------------------------------------------


@dataclass
class Cluster(FakeKube):
    """A cluster with one istiod, by what it has."""

    services: Sequence[Service] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    slices: Sequence[EndpointSlice] | None = ()

    def list(self, resource: Resource[Any], namespace: str = "", selector: str = "") -> Any:
        if resource is ENDPOINT_SLICES and self.slices is None:
            raise NotPermitted(wanted="slices", seen="forbidden", where=self.name)
        of_kind: Mapping[Any, Any] = {
            PODS: self.found,
            SERVICES: self.services,
            ENDPOINT_SLICES: self.slices,
        }
        return of_kind[resource]

    def get(self, resource: Resource[Any], namespace: str, name: str) -> Namespace | None:
        assert resource is NAMESPACES
        labels = self.namespaces.get(name)
        return None if labels is None else Namespace(Meta(name, "", labels), "uid")


def cluster(
    name: str,
    *,
    status: str = SYNCED,
    selectors: Sequence[Mapping[str, Any]] = (),
    shards: str = "{}",
    istiod: bool = True,
    **fields: Any,
) -> Cluster:
    said = {
        "/debug/clusterz": json.dumps(
            [{"id": HERE, "syncStatus": SYNCED}, {"id": THERE, "syncStatus": status}]
        ),
        "/debug/mesh": json.dumps({"discoverySelectors": selectors} if selectors else {}),
        "/debug/endpointShardz": shards,
    }
    pods: Sequence[Pod] = (pod("istiod-1", "istio-system", app="istiod"),) if istiod else ()
    return Cluster(lambda argv: said[argv[-1]], pods, name, **fields)


def service(**annotations: str) -> Service:
    return Service(Meta("cart", "shop", {}, annotations), "ClusterIP", {}, (), ())


def exported(to: str) -> Service:
    return service(**{"networking.istio.io/exportTo": to})


def view(here: Cluster, there: Cluster, scenario: Scenario = PRIMARIES) -> MeshView:
    made = FakeView(scenario)
    made.kube = {HERE: here, THERE: there}
    return cast("MeshView", made)


LABELLED = {"matchLabels": {"mesh": "yes"}}
SHOP = {"services": (service(),), "namespaces": {"shop": {"mesh": "yes"}}}


@pytest.mark.parametrize(
    ("here", "there", "lost"),
    [
        ({}, SHOP, True),
        ({"status": "timeout"}, SHOP, False),
        ({"selectors": [LABELLED]}, SHOP, True),
        ({"selectors": [{"matchLabels": {"mesh": "no"}}, LABELLED]}, SHOP, True),
        ({"selectors": [{"matchLabels": {"mesh": "no"}}]}, SHOP, False),
        ({"selectors": [LABELLED]}, {**SHOP, "namespaces": {}}, False),
        ({}, {**SHOP, "namespaces": {}}, True),
        ({}, {**SHOP, "services": ()}, False),
        ({}, {**SHOP, "services": (exported("~"),)}, False),
        ({}, {**SHOP, "services": (exported("shop, ~"),)}, False),
        ({}, {**SHOP, "services": (exported("."),)}, True),  # known, for its own namespace
        ({}, {**SHOP, "services": (exported("*"),)}, True),
    ],
)
def test_what_an_istiod_does_not_follow_is_not_lost(
    here: dict[str, Any], there: dict[str, Any], lost: bool
) -> None:
    seen_by = view(cluster(HERE, **here), cluster(THERE, **there))
    assert expected(seen_by, [MISSED]) == (MISSED,) * lost


def test_where_nothing_is_missed_nobody_is_asked() -> None:
    here = cluster(HERE)
    assert expected(view(here, cluster(THERE)), ()) == ()
    assert not here.asked


def test_services_are_exported_unless_somebody_says_otherwise() -> None:
    assert is_followed(service())


# A look -------------------------------------------------------------------------------------------


def test_primaries_are_asked_what_they_hold_and_remotes_for_their_slices() -> None:
    both = {
        f"Kubernetes/{name}": [endpoint(f"10.{name[-1]}.0.5")] for name in ("cluster1", "cluster2")
    }
    primary = cluster(HERE, shards=answer(HOST, both))
    remote = cluster(THERE, istiod=False, slices=(slice_of(POD),))
    now = look(view(primary, remote, REMOTE))
    assert now.has == {HERE: has("10.1.0.5"), THERE: has(ADDRESS)}
    assert missing(REMOTE, now) == ()
    two = look(view(primary, cluster(THERE, shards=answer(HOST, {})), PRIMARIES))
    assert [(each.reader, each.cluster) for each in missing(PRIMARIES, two)] == [(THERE, HERE)]


def test_slices_that_may_not_be_listed_say_nothing() -> None:
    now = look(view(cluster(HERE), cluster(THERE, istiod=False, slices=None), REMOTE))
    assert now.has[THERE] is None


@pytest.mark.parametrize(
    ("services", "words"),
    [
        (["a/b"], "1 service: a/b"),
        (["kube-system/dns", "a/b"], "2 services: a/b, kube-system/dns"),
        (
            ["istio-system/istiod", "kube-system/dns", "z/a", "b/a", "a/a"],
            "5 services: a/a, b/a, z/a, and 2 more",
        ),
    ],
)
def test_services_in_short(services: list[str], words: str) -> None:
    assert in_short(in_order(services, "istio-system")) == words


# DISCOVERY-3 --------------------------------------------------------------------------------------

GONE = seen(held(THERE, {}), has=has(ADDRESS))
THERE_AGAIN = seen(held(THERE, has(ADDRESS)), has=has(ADDRESS))


def check(looks: Sequence[Look], monkeypatch: pytest.MonkeyPatch, **kept: bool) -> Outcome:
    """The outcome on a mesh that looks so one after another, and then as the last time."""
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    def settle(probe: Any, accept: Any, **limits: Any) -> Any:
        return convergence.settle(probe, accept, **limits, clock=lambda: clock.now, sleep=sleep)

    monkeypatch.setattr(discovery_3, "settle", settle)
    left = list(looks)
    probes = discovery_3.Probes(
        look=lambda view: left.pop(0) if len(left) > 1 else left[0],
        expected=lambda view, lost: tuple(lost) if kept.get("expected", True) else (),
    )
    return checked(discovery_3, mesh(FakeView(PRIMARIES)), probes)


def test_services_that_stay_lost_fail_it(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = check([GONE], monkeypatch)
    assert (
        "cluster1: expected istiod-1 to hold endpoints of every service of cluster2, but saw none "
        "of 1 service: shop/cart, which pods take traffic for there" in found(outcome)
    )
    assert [each.about.clusters for each in outcome.findings] == [(THERE,)]
    assert outcome.figures["cluster1.services_of_other_clusters"] == 1


@pytest.mark.parametrize("before", [1, 2, 4])
def test_services_that_arrive_in_time_do_not(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert patience.current().factor == 1
    assert check([*[GONE] * before, THERE_AGAIN], monkeypatch).result == "met"


def test_what_comes_and_goes_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        seen(held(THERE, {}), has={f"shop/job-{number}": frozenset({f"10.2.0.{number}"})})
        for number in range(9)
    ]
    assert check(others, monkeypatch).result == "met"


def test_what_need_not_be_held_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = check([GONE], monkeypatch, expected=False)
    assert (outcome.result, outcome.notes) == ("met", ())


def test_what_is_not_looked_at_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = check([seen(held(THERE, {}), has=None)], monkeypatch)
    assert outcome.result == "met"
    (note,) = outcome.notes
    assert note == (
        "cluster2: its EndpointSlices may not be listed, so that what istiod of cluster1 holds of "
        "its services was not looked at"
    )
