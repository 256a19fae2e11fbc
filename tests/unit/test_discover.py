"""From what is installed to the scenario that describes it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from fake_api_server import FakeApiServer
from hypothesis import given
from hypothesis import strategies as st
from kube_client import client_of
from mesh_examples import SCENARIOS, meshes

from mesh_fixtures.contract import GUIDE_NAMES, Cluster
from mesh_fixtures.errors import NotInstalled, ScenarioError
from mesh_fixtures.kube import ConfigMap, Meta, Webhook
from mesh_fixtures.kube.resources import SERVICE_EXPORTS
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.kubeconfig import discovery
from mesh_fixtures.lab.kubeconfig.inference import DISCOVERED, infer, require_given_by_name
from mesh_fixtures.lab.kubeconfig.survey import (
    Installation,
    Values,
    discovery_addresses,
    injection_values,
    regions,
    trust_domain,
)
from mesh_fixtures.probe.injectors import Injector
from mesh_fixtures.probe.mesh_configuration import configurations_in
from mesh_fixtures.scenario import Scenario, as_yaml, load_scenario

TWO = SCENARIOS["multi-primary-multi-network"]
REMOTE = SCENARIOS["primary-remote-multi-network"]
NO_WEBHOOK = Webhook.read({"name": "w", "clientConfig": {}})


def installed(scenario: Scenario) -> list[Installation]:
    """What the guide's installation of a scenario leaves in its clusters."""
    found = []
    for at, cluster in enumerate(scenario.clusters):
        primary = scenario.control_plane_of(cluster.name)
        reads = {each.of for each in scenario.remote_secrets if each.installed_in == cluster.name}
        values = Values(scenario.mesh_id, cluster.name, cluster.network)
        path = ("", "") if cluster.is_primary else (cluster.name, cluster.network)
        found.append(
            Installation(
                cluster=cluster.name,
                uid=f"uid-{at}",
                network=cluster.network if scenario.is_multi_network else "",
                control_planes=() if cluster.is_primary else (primary,),
                istiods={"istiod": cluster.name} if cluster.is_primary else {},
                values=(values,) if cluster.is_primary else (),
                trust_domain="cluster.local" if cluster.is_primary else "",
                injectors=(Injector("default", *path, NO_WEBHOOK),),
                discovery=frozenset(
                    {f"gateway of {primary}" if primary != cluster.name else "pod"}
                ),
                gateways=frozenset({f"gateway of {cluster.name}"}),
                reads=frozenset({cluster.name, *reads}) if cluster.is_primary else None,
                regions=frozenset({cluster.region}),
            )
        )
    return found


def changed(scenario: Scenario, cluster: str, **changes: object) -> list[Installation]:
    return [
        replace(each, **changes) if each.cluster == cluster else each  # type: ignore[arg-type]
        for each in installed(scenario)
    ]


@given(meshes())
def test_what_the_guide_installs_is_described_without_a_doubt(scenario: Scenario) -> None:
    found = infer(installed(scenario))
    assert found.notes == ()
    assert scenario.describes_same(found.scenario)
    assert [each.name for each in found.scenario.clusters] == [c.name for c in scenario.clusters]
    assert found.scenario.id == DISCOVERED


@given(st.data())
def test_only_scenarios_that_say_the_same_describe_it(data: st.DataObject) -> None:
    names = sorted(SCENARIOS)
    one, other = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    found = infer(installed(SCENARIOS[one])).scenario
    says_nothing_of_regions = (one, other) == ("two-regions", TWO.id)
    assert SCENARIOS[other].describes_same(found) == (one == other or says_nothing_of_regions)


def test_the_order_of_clusters_does_not_matter() -> None:
    found = infer(list(reversed(installed(TWO)))).scenario
    assert [each.name for each in found.clusters] == ["cluster2", "cluster1"]
    assert TWO.describes_same(found)


@pytest.mark.parametrize(
    ("first", "second", "regions"),
    [
        ({"r1"}, {"r2"}, ["r1", "r2"]),
        ({"r1"}, {"r1"}, [None, None]),
        ({"r1", "r2"}, {"r3"}, [None, None]),
        ({"r1", ""}, {"r2"}, [None, None]),
        ({""}, {"r2"}, [None, None]),
        (set(), {"r2"}, [None, None]),
        (None, {"r2"}, [None, None]),
    ],
)
def test_regions_are_described_where_they_differ(
    first: set[str] | None, second: set[str], regions: list[str | None]
) -> None:
    one, other = installed(TWO)
    known = None if first is None else frozenset(first)
    found = [replace(one, regions=known), replace(other, regions=frozenset(second))]
    assert [each.locality for each in infer(found).scenario.clusters] == regions


@pytest.mark.parametrize(
    ("refusals", "found"), [([], {"r1", ""}), ([403], None)], ids=["permitted", "forbidden"]
)
def test_regions_of_nodes(refusals: list[int], found: set[str] | None, tmp_path: Path) -> None:
    labels = [{"topology.kubernetes.io/region": "r1"}, {}]
    nodes = [{"metadata": {"name": f"n{at}", "labels": each}} for at, each in enumerate(labels)]
    server = FakeApiServer({"/api/v1/nodes": {"items": nodes}}, refusals)
    with client_of(server, tmp_path) as kube:
        assert regions(kube) == found


def test_another_mesh_id_is_another_mesh() -> None:
    values = (Values("other", "cluster1", "network1"),)
    found = changed(TWO, "cluster1", values=values)
    notes = infer(found).notes
    assert notes == ("the mesh has more than one id: other in cluster1, mesh1 in cluster2",)
    both = [replace(each, values=(Values("other", each.cluster),)) for each in installed(TWO)]
    assert not TWO.describes_same(infer(both).scenario)


@pytest.mark.parametrize(
    ("of_first", "of_last", "notes"),
    [
        ({"ingress"}, {"ingress", "b"}, ["namespace istio-system, beside another in ingress"]),
        ({"a", "b"}, {"a", "b"}, ["namespace istio-system, beside another in a, b"]),
        ({"a"}, {"b"}, []),
        ({"a"}, set(), []),
    ],
)
def test_control_planes_that_all_clusters_have_are_told(
    of_first: set[str], of_last: set[str], notes: list[str]
) -> None:
    first, last = installed(TWO)
    others = [replace(first, others=frozenset(of_first)), replace(last, others=frozenset(of_last))]
    assert infer(others).notes == tuple(f"the control plane is in {each}" for each in notes)


def test_a_control_plane_elsewhere_and_another_domain() -> None:
    there = [replace(each, system_namespace="mesh-system") for each in installed(TWO)]
    found = infer(there, {}, "corp.test")
    assert found.notes == ("the control plane is in namespace mesh-system",)
    assert found.scenario.cluster_domain == "corp.test"
    assert not TWO.describes_same(found.scenario)


def test_dns_proxying_of_any_control_plane_is_described() -> None:
    assert "dns-proxying" not in infer(installed(TWO)).scenario.features
    found = infer(changed(TWO, "cluster2", dns_proxying=True)).scenario
    assert "dns-proxying" in found.features
    assert TWO.describes_same(found)


def test_exports_that_any_control_plane_reads_are_described() -> None:
    assert "mcs" not in infer(installed(TWO)).scenario.features
    found = infer(changed(TWO, "cluster2", mcs=frozenset({SERVICE_EXPORTS.group})))
    assert "mcs" in found.scenario.features
    assert found.notes == ()
    assert TWO.describes_same(found.scenario)
    of_others = infer(changed(TWO, "cluster2", mcs=frozenset({"net.gke.io"})))
    assert "mcs" not in of_others.scenario.features
    (note,) = of_others.notes
    assert note.startswith("cluster2: services that are exported by ServiceExports of net.gke.io")


def test_a_mesh_without_an_id_goes_by_its_trust_domain() -> None:
    found = [replace(each, values=(Values("", each.cluster),)) for each in installed(TWO)]
    assert infer(found).scenario.mesh_id == "cluster.local"


@pytest.mark.parametrize("bare", [["cluster2"], ["cluster1", "cluster2"]])
def test_what_is_not_installed_is_named(bare: list[str]) -> None:
    found = [
        Installation(each.cluster, uid=each.uid) if each.cluster in bare else each
        for each in installed(TWO)
    ]
    with pytest.raises(NotInstalled) as raised:
        infer(found)
    assert raised.value.where == ", ".join(bare)


def test_one_cluster_under_two_names() -> None:
    with pytest.raises(ScenarioError, match="cluster1 and cluster2 are the same one"):
        infer(changed(TWO, "cluster2", uid="uid-0"))


FILES = {"cluster1": "one.yaml@one", "cluster2": "two.yaml"}


@pytest.mark.parametrize(
    ("scenario", "changes"),
    [
        (TWO, {"istiods": {"istiod": "east"}}),
        (REMOTE, {"injectors": (Injector("default", "east", "network2", NO_WEBHOOK),)}),
    ],
)
def test_clusters_go_by_the_meshs_names(scenario: Scenario, changes: dict[str, object]) -> None:
    found = changed(scenario, "cluster2", **changes)
    if scenario is REMOTE:
        found[0] = replace(found[0], reads=frozenset({"cluster1", "east"}))
    with pytest.raises(ScenarioError, match=r"calls cluster2 \(two.yaml\) east") as raised:
        infer(found, FILES)
    assert raised.value.remedy == "write east=two.yaml in place of cluster2=two.yaml"


def swapped() -> list[Installation]:
    one, other = (each.istiods for each in installed(TWO))
    first, second = installed(TWO)
    return [replace(first, istiods=other), replace(second, istiods=one)]


def test_kubeconfigs_that_are_mixed_up() -> None:
    right = (
        "write cluster2=one.yaml@one cluster1=two.yaml in place of cluster1=one.yaml@one "
        "cluster2=two.yaml"
    )
    with pytest.raises(ScenarioError) as raised:
        infer(swapped(), FILES)
    assert raised.value.remedy == right
    with pytest.raises(ScenarioError) as raised:
        require_given_by_name(swapped(), FILES)
    assert raised.value.remedy == right


def test_a_scenario_may_say_that_the_meshs_names_are_wrong() -> None:
    require_given_by_name(installed(TWO), FILES)
    require_given_by_name(changed(TWO, "cluster2", istiods={"istiod": "east"}), FILES)
    require_given_by_name(changed(TWO, "cluster2", istiods={"istiod": "cluster1"}), FILES)
    require_given_by_name([Installation("cluster1"), Installation("cluster2")], FILES)


@pytest.mark.parametrize("given", [("cluster1", "cluster2"), ("east", "west")])
def test_two_clusters_that_call_themselves_the_same(given: tuple[str, str]) -> None:
    found = [
        replace(each, cluster=name, istiods={"istiod": "cluster1"})
        for name, each in zip(given, installed(TWO), strict=True)
    ]
    files = dict(zip(given, FILES.values(), strict=True))
    with pytest.raises(ScenarioError) as raised:
        infer(found, files)
    seen = "2 clusters of this mesh call themselves cluster1"
    assert raised.value.seen == f"{seen}: {given[0]} (one.yaml@one), {given[1]} (two.yaml)"


def test_a_wrong_injection_path_is_odd_and_no_wrong_name() -> None:
    wrong = (Injector("default", "cluster9", "network9", NO_WEBHOOK),)
    found = infer(changed(REMOTE, "cluster2", injectors=wrong))
    assert REMOTE.describes_same(found.scenario)
    name, network = found.notes
    assert name == "cluster2: its injection path calls it cluster9"
    assert "is network2 by the label topology.istio.io/network" in network
    assert "and network9 by the injection path" in network


@pytest.mark.parametrize(
    ("changes", "networks", "said"),
    [
        ({"network": ""}, ["network1", "network2"], ""),
        ({"network": "network1"}, ["network1", "network1"], "network2 by values.global.network"),
        (
            {"network": "", "values": (Values("mesh1", "cluster2"),)},
            ["network1", "network1"],
            "cluster2: no network is set; it is described as network1",
        ),
    ],
)
def test_networks(changes: dict[str, object], networks: list[str], said: str) -> None:
    found = infer(changed(TWO, "cluster2", **changes))
    assert [each.network for each in found.scenario.clusters] == networks
    assert said in " ".join(found.notes)
    assert bool(said) == bool(found.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"control_planes": ("*",)}, ""),
        ({"control_planes": ("cluster9", "cluster1")}, ""),
        ({"discovery": frozenset()}, ""),
        ({"control_planes": ()}, "has no annotation topology.istio.io/controlPlaneClusters"),
        ({"control_planes": ("cluster9",)}, "is cluster9, but cluster1 seems to be in charge"),
    ],
)
def test_who_is_in_charge_of_a_remote(changes: dict[str, object], said: str) -> None:
    found = infer(changed(REMOTE, "cluster2", **changes))
    assert found.scenario.cluster("cluster2").primary == "cluster1"
    assert said in " ".join(found.notes)
    assert bool(said) == bool(found.notes)


def test_of_two_primaries_the_one_at_whose_gateway_istiod_is_found() -> None:
    primaries = installed(TWO)
    remote = installed(REMOTE)[1]
    third = replace(
        remote,
        cluster="cluster3",
        uid="uid-3",
        control_planes=("*",),
        injectors=(Injector("default", "cluster3", "network2", NO_WEBHOOK),),
        discovery=frozenset({"gateway of cluster2"}),
    )
    assert infer([*primaries, third]).scenario.cluster("cluster3").primary == "cluster2"
    lost = replace(third, discovery=frozenset({"elsewhere"}))
    with pytest.raises(ScenarioError, match="one cluster whose istiod is in charge"):
        infer([*primaries, lost])
    with pytest.raises(ScenarioError, match="none of the clusters"):
        infer([third])


def beside_its_primary(**changes: object) -> list[Installation]:
    """A remote of cluster1, which was not given, and a primary of the same mesh."""
    primary, remote = installed(REMOTE)
    other = replace(
        primary,
        cluster="cluster3",
        uid="uid-3",
        istiods={"istiod": "cluster3"},
        gateways=frozenset({"gateway of cluster3"}),
        reads=frozenset({"cluster1", "cluster2", "cluster3"}),
        values=(Values(REMOTE.mesh_id, "cluster3", "network3"),),
        network="network3",
    )
    return [replace(remote, **changes), other]  # type: ignore[arg-type]


@pytest.mark.parametrize("discovery", [{"gateway of cluster1"}, set()])
@pytest.mark.parametrize("annotated", [("cluster1",), ("cluster1", "cluster3")])
def test_a_remote_whose_primary_was_not_given_is_put_under_no_other(
    annotated: tuple[str, ...], discovery: set[str]
) -> None:
    found = beside_its_primary(control_planes=annotated, discovery=frozenset(discovery))
    with pytest.raises(ScenarioError, match="its primary cluster1 was not given") as raised:
        infer(found)
    assert raised.value.where == "cluster2"


@pytest.mark.parametrize(
    "changes",
    [
        {"discovery": frozenset({"gateway of cluster3"})},
        {"control_planes": ("*",)},
        {"control_planes": ()},
        {"control_planes": ("cluster3",)},
        {"control_planes": ("cluster9",)},
    ],
)
def test_a_remote_of_which_nothing_says_that_its_primary_is_missing(
    changes: dict[str, object],
) -> None:
    found = infer(beside_its_primary(**changes))
    assert found.scenario.cluster("cluster2").primary == "cluster3"


def test_clusters_that_were_not_given_are_named_and_not_described() -> None:
    found = infer(installed(TWO)[:1])
    assert found.scenario.others == ("cluster2",)
    assert found.notes == ("istiod of cluster1 reads cluster2: no cluster of this name was given",)
    assert not TWO.describes_same(found.scenario)


def injecting(remote: Installation) -> Installation:
    """A remote whose own istiod injects its proxies."""
    name = remote.cluster
    return replace(remote, istiods={"istiod": name}, reads=frozenset({name}), control_planes=())


def test_an_istiod_that_only_injects_is_no_control_plane() -> None:
    primary, remote = installed(REMOTE)
    found = infer([primary, injecting(remote)])
    assert REMOTE.describes_same(found.scenario)
    assert found.notes == (
        (
            "cluster2: its istiod injects proxies, which istiod of cluster1 configures; it is "
            "described as a remote"
        ),
    )


@pytest.mark.parametrize("discovery", [frozenset(), frozenset({"pod"}), {"pod", "gateway of a"}])
def test_an_istiod_whose_proxies_come_back_to_it_is_one(discovery: frozenset[str]) -> None:
    primary, remote = installed(REMOTE)
    own = replace(injecting(remote), discovery=frozenset(discovery), reads=None)
    assert {each.role for each in infer([primary, own]).scenario.clusters} == {"primary"}


def test_names_that_a_mesh_may_have_and_a_lab_not() -> None:
    long = "cn-my-company-production-europe-west1-payments-cluster-a"
    one, other = installed(TWO)
    values = (Values("acme_prod", long, "eu.prod"),)
    own = replace(one, cluster=long, istiods={"istiod": long}, network="eu.prod", values=values)
    found = infer([own, replace(other, values=(replace(other.values[0], mesh_id="acme_prod"),))])
    described = found.scenario
    assert (described.mesh_id, described.clusters[0].name) == ("acme_prod", long)
    assert _read(as_yaml(described)) == described.model_copy(update={"id": "written"})
    with pytest.raises(ScenarioError, match=r"networks\[0\].name.*seen: eu.prod|eu.prod"):
        assign_addresses(described, slot=0)


@pytest.mark.parametrize("network", ["My Network", "-", "n" * 64])
def test_names_that_no_mesh_can_have(network: str) -> None:
    with pytest.raises(ScenarioError, match=network):
        infer(changed(TWO, "cluster2", network=network))


@given(meshes())
def test_what_is_written_is_read_again(scenario: Scenario) -> None:
    assert _read(as_yaml(scenario)) == scenario.model_copy(update={"id": "written"})


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_projects_own_scenarios_are_written_too(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    assert _read(as_yaml(scenario)) == scenario.model_copy(update={"id": "written"})


def _read(text: str) -> Scenario:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "written.yaml")
        file.write_text(text, encoding="utf-8")
        return load_scenario(file)


def test_what_istiod_injects_with() -> None:
    values = '{"global": {"meshID": "m", "multiCluster": {"clusterName": "c"}, "network": "n"}}'
    maps = [
        ConfigMap(Meta("istio-sidecar-injector-canary"), {"values": values}),
        ConfigMap(Meta("istio-sidecar-injector"), {"values": "{}"}),
        ConfigMap(Meta("istio-sidecar-injector-broken"), {"values": "{"}),
        ConfigMap(Meta("other"), {"values": values}),
    ]
    assert list(injection_values(maps)) == [Values("m", "c", "n"), Values(), Values()]


@pytest.mark.parametrize(
    ("mesh", "address"),
    [
        ("{}", "istiod.istio-system.svc:15012"),
        ("[", "istiod.istio-system.svc:15012"),
        ("defaultConfig: {discoveryAddress: 'istiod-a.b.svc:15012'}", "istiod-a.b.svc:15012"),
    ],
)
def test_where_proxies_are_sent(mesh: str, address: str) -> None:
    maps = [
        ConfigMap(Meta("istio-ca-root-cert"), {}),
        ConfigMap(Meta("istio-canary"), {"mesh": mesh}),
        ConfigMap(Meta("other"), {"mesh": "{}"}),
    ]
    assert list(discovery_addresses(each.content for each in configurations_in(maps))) == [address]


@pytest.mark.parametrize(
    ("mesh", "domain"),
    [("trustDomain: cluster.local", "cluster.local"), ("{}", ""), ("[", ""), ("text", "")],
)
def test_the_trust_domain(mesh: str, domain: str) -> None:
    maps = [ConfigMap(Meta("istio-ca-root-cert"), {}), ConfigMap(Meta("istio"), {"mesh": mesh})]
    assert trust_domain(each.content for each in configurations_in(maps)) == domain


def test_the_ambient_mode_beside_sidecars_is_noted() -> None:
    found = [replace(each, ambient={"ztunnel": 2, "waypoint": 1}) for each in installed(TWO)]
    notes = infer(found).notes
    assert "cluster1: the ambient mode beside sidecars (1 waypoint, 2 ztunnel) is not" in str(notes)


@pytest.mark.parametrize("scenario", [TWO, SCENARIOS["multi-primary"]])
def test_istiods_that_know_other_clusters_by_peering_are_refused(scenario: Scenario) -> None:
    alone = [
        replace(each, peers=True, reads=frozenset({each.cluster})) for each in installed(scenario)
    ]
    with pytest.raises(ScenarioError, match="peering, as of Solo's builds") as raised:
        infer(alone)
    assert raised.value.where == "cluster1, cluster2"
    reading = [replace(each, peers=True) for each in installed(scenario)]
    silent = [replace(each, reads=None) for each in alone]
    for found in (reading, silent):
        assert infer(found).scenario.describes_same(infer(installed(scenario)).scenario)
    assert infer(alone[:1]).scenario.others == ()


def test_what_is_not_verified_is_refused_for_a_scenario_that_is_given_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clusters = [
        Cluster(name=each.name, network=each.network, kubeconfig=Path("none"))
        for each in TWO.clusters
    ]

    def require(found: list[Installation]) -> None:
        monkeypatch.setattr(discovery, "installations", lambda *_: found)
        discovery.require_installed(TWO, clusters, GUIDE_NAMES, [])

    sound = installed(TWO)
    require(sound)
    peering = [replace(each, peers=True, reads=frozenset({each.cluster})) for each in sound]
    with pytest.raises(ScenarioError, match="peering"):
        require(peering)
    ambient = frozenset(each.name for each in TWO.networks)
    with pytest.raises(ScenarioError, match="for the ambient mode"):
        require([replace(each, ambient_networks=ambient) for each in sound])
    with pytest.raises(NotInstalled):
        require([Installation(each.cluster) for each in sound])


def test_a_control_plane_that_a_provider_runs_is_told() -> None:
    url = "https://meshconfig.example/v1/projects/p/webhooks/inject/ISTIO_META_X/y"
    webhook = Webhook.read({"name": "w", "clientConfig": {"url": url}})
    injected = (Injector("asm-managed", "", "", webhook, "asm-managed"),)
    found = [
        Installation(each.cluster, uid=each.uid, injectors=injected) for each in installed(TWO)
    ]
    with pytest.raises(ScenarioError, match="runs in none of the clusters") as raised:
        infer(found)
    assert "meshconfig.example" in raised.value.seen
    assert "managed Cloud Service Mesh" in raised.value.remedy


def test_networks_that_are_joined_for_the_ambient_mode_alone_are_refused() -> None:
    networks = frozenset({"network1", "network2"})
    found = [replace(each, ambient_networks=networks) for each in installed(TWO)]
    with pytest.raises(ScenarioError, match="ambient mode is not verified"):
        infer(found)
    one = [replace(each, ambient_networks=frozenset({"network1"})) for each in installed(TWO)]
    assert infer(one).scenario.is_multi_network
