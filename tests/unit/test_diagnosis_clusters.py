"""Rules about what istiods know of other clusters, and how remotes reach istiod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from diagnosis_changes import (
    ANNOTATION,
    ANY,
    EVERYTHING,
    FINDING,
    LOST,
    MULTI,
    NETWORK_LABEL,
    REFUSING,
    REMOTE,
    SECRET_OF_2,
    SYSTEM,
    Change,
    adding,
    both,
    cut_off,
    diagnosed,
    each,
    in_regions,
    is_any,
    istiods,
    labelled,
    minus,
    no,
    of,
    of_mesh,
    plus,
    secret,
    to_istiod,
    without,
)
from diagnosis_recordings import recorded

from mesh_fixtures.diagnosis import UNKNOWN, diagnose
from mesh_fixtures.diagnosis.facts import (
    ISTIOD_TLS,
    NetworkGateway,
    SliceAddresses,
)
from mesh_fixtures.probe.remote_secrets import RemoteSecret
from mesh_fixtures.verdict.findings import Finding, Subject

EAST_WEST = {"matchLabels": {"istio": "eastwestgateway"}}


@pytest.mark.parametrize(
    ("change", "certainty"),
    [
        (cut_off(denied=3), "certain"),
        (cut_off(denied=None), "likely"),
        (cut_off({"selector": EAST_WEST}, denied=3), "certain"),
        (cut_off(REFUSING, denied=3), "certain"),
        (cut_off({"rules": [{"to": [{"operation": {"ports": ["15443"]}}]}]}, denied=3), "certain"),
        (cut_off(denied=0), ""),
        (cut_off(denied=3, agreed=1), ""),
        (cut_off(denied=None, open=0, timed_out=2), ""),
        (cut_off({"rules": [{}]}, denied=3), ""),
        (cut_off({"action": "DENY"}, denied=3), ""),
        (cut_off({"action": "AUDIT", "rules": [{}]}, denied=3), ""),
        (cut_off({"selector": {"matchLabels": {"app": "other"}}}, denied=3), ""),
        (cut_off({"targetRefs": [{"kind": "Gateway", "name": "other"}]}, denied=3), ""),
    ],
)
def test_who_keeps_a_remote_from_istiod(change: Change, certainty: str) -> None:
    recording = change(recorded(REMOTE))
    failures = {"CONTROL-2": (Finding("cluster2", "a connection", "none"),)}
    found = diagnose(recording.scenario, recording.facts, failures)
    (root,) = found.roots
    if certainty:
        assert (root.id, root.certainty) == ("istiod-access-denied", certainty)
        assert root.cause.clusters[0] == "cluster1"
        for each in ("AuthorizationPolicy istio-system/nothing", "cluster1", "cluster2"):
            assert each in root.cause.statement
    else:
        assert root.id != "istiod-access-denied"


@pytest.mark.parametrize(
    ("change", "certainty"), [({}, "certain"), ({"remote_secrets": None}, "likely")]
)
def test_endpoints_are_stale_for_certain_where_remote_secrets_are_known(
    change: dict[str, Any], certainty: str
) -> None:
    stale = both(
        of("cluster2", helloworld=SliceAddresses("sample", ("10.68.32.15",))),
        istiods("cluster1", helloworld=without(lambda one: one.cluster == "cluster2")),
        of("cluster1", **change),
    )
    (root,) = diagnosed(stale, "DISCOVERY-2").roots
    assert (root.id, root.certainty) == ("endpoints-stale", certainty)


@pytest.mark.parametrize(
    ("change", "certainty"), [({}, "certain"), ({"remote_secrets": None}, "likely")]
)
def test_services_are_lost_for_a_requirement_that_misses_them(
    change: dict[str, Any], certainty: str
) -> None:
    recording = both(of_mesh(lost=LOST), of("cluster1", **change))(recorded(MULTI))
    missed = Finding("cluster1", "endpoints", "none", about=Subject(("cluster2",)))
    found = diagnose(recording.scenario, recording.facts, {"DISCOVERY-3": (missed,)})
    (root,) = found.roots
    assert (root.id, root.certainty, root.consequences) == (
        "endpoints-stale",
        certainty,
        ("DISCOVERY-3",),
    )
    for word in ("cluster1", "cluster2", "2 services: shop/cart, shop/till"):
        assert word in root.cause.statement
    elsewhere = replace(missed, cluster="cluster2", about=Subject(("cluster1",)))
    found = diagnose(recording.scenario, recording.facts, {"DISCOVERY-3": (elsewhere,)})
    assert found.ids == (UNKNOWN,)


def test_services_that_are_missed_at_one_look_explain_nothing_else() -> None:
    assert diagnosed(of_mesh(lost=LOST), "DISCOVERY-2").ids == (UNKNOWN,)


def test_a_label_is_missed_for_pods_without_a_proxy_though_injection_tells_of_the_others() -> None:
    change = of("cluster2", namespaces=each(SYSTEM, labels=minus(NETWORK_LABEL)))
    recording = change(recorded(MULTI))
    missed = Finding("cluster2", f"istio-system to have the label {NETWORK_LABEL}=network2", "none")
    found = diagnose(recording.scenario, recording.facts, {"CONTROL-3": (missed,)})
    assert found.ids == ("network-label-missing",)
    elsewhere = replace(missed, cluster="cluster1")
    found = diagnose(recording.scenario, recording.facts, {"CONTROL-3": (elsewhere,)})
    assert found.ids == (UNKNOWN,)


def test_a_policy_that_keeps_a_remote_from_istiod_says_nothing_of_its_primary() -> None:
    recording = cut_off(denied=3)(recorded(REMOTE))
    failures = {"CONTROL-2": (Finding("cluster1", "a connection", "none"),)}
    assert diagnose(recording.scenario, recording.facts, failures).ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("nodes", "breaks"),
    [
        (("network1", "network2"), ()),
        (("", ""), ("LOCALITY-1", "LOCALITY-2")),
        (("network1", "network1"), ("LOCALITY-1", "LOCALITY-2")),
        (("network1", ""), ("LOCALITY-2",)),
        (("network1", "elsewhere"), ("LOCALITY-2",)),
    ],
)
def test_regions_of_nodes(nodes: tuple[str, str], breaks: tuple[str, ...]) -> None:
    placed = both(in_regions("network1", "network2"), *labelled(*nodes))
    for requirement in ("LOCALITY-1", "LOCALITY-2"):
        (root,) = diagnosed(placed, requirement).roots
        assert root.id == ("node-region" if requirement in breaks else UNKNOWN)
        if requirement in breaks:
            assert root.certainty == "certain"


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        (
            of("cluster2", namespaces=each(SYSTEM, annotations=minus(ANNOTATION))),
            "control-plane-annotation-missing",
        ),
        (
            of("cluster2", namespaces=each(SYSTEM, annotations=plus({ANNOTATION: "cluster9"}))),
            "control-plane-annotation-wrong",
        ),
        (
            of("cluster2", webhooks=each(is_any, webhooks=each(is_any, path="/inject"))),
            "injection-path-wrong",
        ),
        (
            both(
                of("cluster2", discovery=("192.0.2.7",)),
                istiods(
                    "cluster1",
                    gateways=adding(NetworkGateway("network1", "cluster1", "192.0.2.7", 15443)),
                ),
            ),
            "discovery-address-wrong",
        ),
    ],
    ids=["no annotation", "another annotation", "another injector", "an address behind a name"],
)
def test_a_remote_that_has_all_it_needs_is_attached(change: Change, refuted: str) -> None:
    recording = change(recorded(REMOTE))
    everything = dict.fromkeys(EVERYTHING, (replace(FINDING, cluster="cluster2"),))
    assert refuted not in diagnose(recording.scenario, recording.facts, everything).ids


def test_a_remote_may_find_istiod_elsewhere_than_at_a_gateway() -> None:
    without_exposure = of(
        "cluster1",
        configuration=lambda known: no("VirtualService")(no("Gateway", "istiod")(known)),
        gateways=each(ANY, ports=(15021, 15443)),
    )
    everything = dict.fromkeys(EVERYTHING, (FINDING, replace(FINDING, cluster="cluster2")))
    cut_off = without_exposure(recorded(REMOTE))
    found = diagnose(cut_off.scenario, cut_off.facts, everything)
    assert "istiod-not-exposed" in found.ids
    served = to_istiod(ISTIOD_TLS, open=2, address="192.0.2.7")(cut_off)
    found = diagnose(served.scenario, served.facts, everything)
    assert not {*found.ids} & {"istiod-not-exposed", "gateway-not-listening"}


def another(**fields: Any) -> Change:
    """Another remote secret of cluster2 in cluster1."""

    def added(known: tuple[RemoteSecret, ...]) -> tuple[RemoteSecret, ...]:
        (first,) = known
        return (first, replace(first, **{"name": "copy", **fields}))

    return of("cluster1", remote_secrets=added)


def read_by(name: str) -> Change:
    return istiods("cluster1", secrets={"cluster2": f"istio-system/{name}"})


DELETING = "kubectl --context=cluster1 -n istio-system delete secret copy"


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (both(another(accepted=False), read_by("copy")), f"{DELETING}, and have istiod read"),
        (both(secret(name="copy", accepted=False), read_by("copy")), f"{DELETING}, and make it"),
        (both(secret(accepted=False), read_by(SECRET_OF_2)), "the token was revoked: make it"),
    ],
)
def test_the_secret_that_is_dead_is_named(change: Change, remedy: str) -> None:
    found = diagnosed(change, "DISCOVERY-1")
    assert found.ids == ("remote-secret-unauthorized",)
    name = "copy" if "copy" in remedy else SECRET_OF_2
    assert f"the token in {name}, " in found.roots[0].cause.statement
    assert remedy in found.roots[0].cause.remedy


NAMED_K2 = {"name": "earlier", "cluster": "k2", "accepted": True}


def test_a_cluster_that_is_read_by_another_name_only() -> None:
    renamed = istiods("cluster1", clusters={"cluster1": "synced", "k2": "synced"})
    found = diagnosed(both(secret(**NAMED_K2), renamed), "DISCOVERY-1")
    assert found.ids == ("remote-secret-wrong-cluster",)
    cause = found.roots[0].cause
    assert "cluster1 reads cluster2 by another name than the mesh's, k2" in cause.statement
    assert "delete secret earlier, and make it again" in cause.remedy
    assert "--context=cluster2 --name=cluster2" in cause.remedy
    assert "--context=k2" not in cause.remedy


def test_a_cluster_that_is_read_by_another_name_too() -> None:
    found = diagnosed(another(**NAMED_K2), "DISCOVERY-1")
    assert found.ids == ("remote-secret-wrong-cluster",)
    assert found.roots[0].cause.remedy.endswith("delete secret earlier")


def test_whose_authority_several_clusters_share_need_not_be_one_of_them() -> None:
    found = diagnosed(another(**{**NAMED_K2, "accepted": False}), "DISCOVERY-1")
    assert "remote-secret-wrong-cluster" not in found.ids


def test_a_dead_secret_that_is_not_in_use_is_no_cause() -> None:
    change = both(another(accepted=False), read_by(SECRET_OF_2))
    assert diagnosed(change, "DISCOVERY-1").ids == (UNKNOWN,)
