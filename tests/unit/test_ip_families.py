"""Meshes of IPv6 and in dual stack: how they are described, made, installed and asked."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_kube import FakeKube, pod
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import BUILT, FOLDER, SCENARIOS
from test_verdicts_traffic import COMPLETE, MULTI, traffic
from verdicts import SOURCE, FakeView, checked, found, mesh

from mesh_fixtures import addresses
from mesh_fixtures.contract import AddressPool
from mesh_fixtures.errors import LabError, ScenarioError
from mesh_fixtures.install import ids
from mesh_fixtures.install.plan import plan
from mesh_fixtures.kube import Pod
from mesh_fixtures.lab.addressing import ClusterAddresses, assign_addresses
from mesh_fixtures.lab.kind.configuration import require_fit
from mesh_fixtures.lab.load_balancer import pool_manifests
from mesh_fixtures.lab.netns import machine
from mesh_fixtures.lab.netns.add_ons import node_manifest
from mesh_fixtures.lab.netns.boot import register
from mesh_fixtures.lab.netns.components import (
    cni_configuration,
    kube_proxy_configuration,
    node_sysctls,
    services_of,
)
from mesh_fixtures.lab.netns.coredns import dns_manifests
from mesh_fixtures.lab.netns.network import node_rules, pod_routes, router_rules
from mesh_fixtures.probe.envoy import Balancing, read_endpoints
from mesh_fixtures.probe.network import Connection, Reach, connections
from mesh_fixtures.probe.traffic import requests
from mesh_fixtures.requirements import network_1, traffic_1
from mesh_fixtures.requirements.second_service import ServiceProbes
from mesh_fixtures.scenario import IpFamily, Scenario, as_yaml, load_scenario
from mesh_fixtures.workloads import workload_plan

PLAIN = SCENARIOS["multi-primary-multi-network"]
REMOTE = SCENARIOS["primary-remote-multi-network"]


def of(scenario: Scenario, *families: IpFamily) -> Scenario:
    return scenario.model_copy(update={"ip_families": families})


IPV6 = of(PLAIN, "IPv6")
DUAL = of(PLAIN, "IPv4", "IPv6")
IPV6_FIRST = of(PLAIN, "IPv6", "IPv4")

# Scenarios ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [PLAIN, IPV6, DUAL, IPV6_FIRST])
def test_a_scenario_says_them(scenario: Scenario, tmp_path: Path) -> None:
    file = tmp_path / f"{scenario.id}.yaml"
    file.write_text(as_yaml(scenario), encoding="utf-8")
    assert load_scenario(file) == scenario
    assert ("ipFamilies" in as_yaml(scenario)) == (scenario is not PLAIN)
    assert ("dual-stack" in scenario.features) == (len(scenario.ip_families) == 2)


def test_each_makes_another_digest() -> None:
    assert len({each.digest for each in (PLAIN, IPV6, DUAL, IPV6_FIRST)}) == 4


def test_a_mesh_is_the_same_whatever_its_addresses() -> None:
    assert IPV6.describes_same(PLAIN)


def test_kind_refuses_all_but_ipv4() -> None:
    with pytest.raises(ScenarioError, match="addresses of IPv4 only"):
        require_fit(DUAL)


# Texts --------------------------------------------------------------------------------------------

HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str), st.just("istiod.istio-system.svc")
)


@given(HOSTS, st.integers(1, 65535))
def test_a_target_is_read_as_it_is_written(host: str, port: int) -> None:
    target = addresses.with_port(host, port)
    assert addresses.split_port(target) == (host, str(port))
    assert addresses.target_host(target) == host


@pytest.mark.parametrize(
    ("host", "target"),
    [("10.0.0.1", "10.0.0.1:80"), ("fd00::1", "[fd00::1]:80"), ("[fd00::1]", "[fd00::1]:80")],
)
def test_only_an_address_of_ipv6_is_in_brackets(host: str, target: str) -> None:
    assert addresses.with_port(host, 80) == target


@pytest.mark.parametrize("text", ["", "host", "[fd00::1]"])
def test_what_has_no_port_is_no_target(text: str) -> None:
    assert addresses.split_port(text) == ("", "")


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.1", "10.0.0.1"), ("fd00::1", "fd00::1"), ("host.example", None), ("", None)],
)
def test_what_is_an_address(text: str, address: str | None) -> None:
    assert addresses.parsed(text) == (None if address is None else ip_address(address))


def test_a_pool_holds_addresses_of_its_own_family() -> None:
    pool = AddressPool(IPv6Address("fd00::8000"), IPv6Address("fd00::803f"))
    assert IPv6Address("fd00::8010") in pool
    assert IPv6Address("fd00::8040") not in pool
    assert IPv4Address(int(IPv6Address("::8010"))) not in pool
    assert str(pool) == "fd00::8000-fd00::803f"


# Labs ---------------------------------------------------------------------------------------------


def cluster(scenario: Scenario, name: str = "cluster1") -> ClusterAddresses:
    return assign_addresses(scenario, slot=3).clusters[name]


def options(scenario: Scenario, service: str) -> dict[str, str]:
    of_cluster = cluster(scenario)
    made = services_of(of_cluster, of_cluster.control_plane, 60.0)
    (argv,) = [each.argv for each in made if each.name == service]
    return dict(option.partition("=")[::2] for option in argv)


def test_components_are_told_addresses_of_all_families() -> None:
    for scenario in (PLAIN, IPV6, DUAL, IPV6_FIRST):
        of_cluster = cluster(scenario)
        node = of_cluster.control_plane
        nodes = options(scenario, "kubelet")["--node-ip"]
        assert nodes == ",".join(map(str, node.addresses))
        server = options(scenario, "kube-apiserver")
        services = ",".join(map(str, of_cluster.service_cidrs))
        assert server["--service-cluster-ip-range"] == services
        assert server["--advertise-address"] == str(node.addresses[0])
        proxy = yaml.safe_load(kube_proxy_configuration(of_cluster, node))
        assert proxy["clusterCIDR"] == ",".join(map(str, of_cluster.pod_cidrs))
        ranges = json.loads(cni_configuration(node))["plugins"][0]["ipam"]["ranges"]
        assert [each["subnet"] for (each,) in ranges] == [*map(str, node.pod_cidrs)]
        made = node_manifest(node)
        assert made["spec"]["podCIDRs"] == [*map(str, node.pod_cidrs)]
        internal = [e["address"] for e in made["status"]["addresses"] if e["type"] == "InternalIP"]
        assert internal == [*map(str, node.addresses)]


def test_addresses_of_ipv6_are_in_brackets_where_a_port_follows() -> None:
    three = SCENARIOS["three-clusters-two-networks"]
    of_cluster = cluster(of(three, "IPv6"), "cluster3")
    kubelet = services_of(of_cluster, of_cluster.nodes[1], 60.0)[1]
    assert kubelet.wants[0] == f"https://[{of_cluster.control_plane.address}]:6443/readyz"
    assert kubelet.wants[-1] == f"tcp://[{of_cluster.kubernetes_service}]:443"


@pytest.mark.parametrize(
    ("scenario", "tables"),
    [(PLAIN, {"ip"}), (IPV6, {"ip6"}), (DUAL, {"ip", "ip6"}), (IPV6_FIRST, {"ip", "ip6"})],
)
def test_filters_are_of_the_families_and_of_no_other(scenario: Scenario, tables: set[str]) -> None:
    lab = assign_addresses(scenario, slot=3)
    for rules in (router_rules(lab), node_rules(lab, lab.clusters["cluster1"])):
        lines = [line.split() for line in rules.splitlines()]
        assert {line[1] for line in lines if line[:1] == ["table"]} == tables
    for each in lab.clusters.values():
        assert all(str(address) in router_rules(lab) for address in each.control_plane.addresses)
        assert all(str(pool) in router_rules(lab) for pool in each.pools)
    # without it, nobody on a link finds the router
    assert ("nd-neighbor-solicit" in router_rules(lab)) == ("ip6" in tables)


def test_routes_to_pods_lead_to_addresses_of_their_family() -> None:
    lab = assign_addresses(of(SCENARIOS["multi-primary"], "IPv6", "IPv4"), slot=3)
    one, other = lab.clusters.values()
    assert pod_routes(lab, one, one.control_plane.name) == [
        (pods, str(address))
        for pods, address in zip(
            other.control_plane.pod_cidrs, other.control_plane.addresses, strict=True
        )
    ]


def test_settings_of_a_node_are_those_of_its_families() -> None:
    assert not any("ipv6" in path or "ip6" in path for path in node_sysctls(cluster(PLAIN)))
    assert node_sysctls(cluster(IPV6))["net/ipv6/conf/all/forwarding"] == "1"
    assert node_sysctls(cluster(DUAL)).items() >= node_sysctls(cluster(PLAIN)).items()


def test_load_balancers_have_a_range_of_each_family() -> None:
    pools = cluster(DUAL).pools
    pool, _ = pool_manifests(*pools)
    assert pool["spec"]["addresses"] == [str(each) for each in pools]


class _Recorder:
    """Takes what kubectl is to submit; every node is there already."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[dict[str, Any]]]] = []

    def create(self, manifests: list[dict[str, Any]]) -> None:
        self.calls.append(("create", manifests))
        raise LabError(wanted="a new node", seen="AlreadyExists", where="cluster1")

    def apply(self, manifests: list[dict[str, Any]]) -> None:
        self.calls.append(("apply", manifests))


@pytest.mark.parametrize(("scenario", "dual"), [(PLAIN, False), (IPV6, False), (DUAL, True)])
def test_no_apply_has_two_addresses_of_a_type(scenario: Scenario, dual: bool) -> None:
    node = node_manifest(cluster(scenario).control_plane)
    kubectl: Any = _Recorder()
    register(kubectl, [node])
    *created, (verb, (applied,)) = kubectl.calls
    assert created == ([("create", [node])] if dual else [])
    assert verb == "apply"
    assert ("status" in applied) != dual
    assert (applied["metadata"], applied["spec"]) == (node["metadata"], node["spec"])


@pytest.mark.parametrize(("scenario", "dual"), [(PLAIN, False), (IPV6, False), (DUAL, True)])
def test_dns_has_an_address_of_each_family(scenario: Scenario, dual: bool) -> None:
    services = cluster(scenario).dns_services
    made = dns_manifests("coredns", services, "cluster.local")
    (service,) = [each for each in made if each["kind"] == "Service"]
    assert service["spec"]["clusterIP"] == str(services[0])
    assert service["spec"].get("clusterIPs") == ([*map(str, services)] if dual else None)


def test_a_machine_without_ipv6_lacks_it_for_topologies_of_it_only(tmp_path: Path) -> None:
    (problem,) = machine.ipv6_problems(tmp_path)
    assert "ipFamilies" in problem.impact
    (tmp_path / "sys/net/ipv6").mkdir(parents=True)
    assert machine.ipv6_problems(tmp_path) == []


# Installations ------------------------------------------------------------------------------------


def values(scenario: Scenario, step: str, charts: Any = None) -> dict[str, Any]:
    (text,) = plan(scenario, BUILT, charts)[step].files.values()
    read: dict[str, Any] = yaml.safe_load(text)
    return read["spec"]["values"] if "spec" in read else read


@pytest.mark.parametrize("charts", [None, FOLDER], ids=["istioctl", "helm"])
@pytest.mark.parametrize("scenario", [PLAIN, IPV6, DUAL])
def test_istiod_knows_both_families_in_dual_stack_only(scenario: Scenario, charts: Any) -> None:
    dual = scenario.is_dual_stack
    found = values(scenario, ids.istiod("cluster1"), charts)
    assert found["pilot"]["env"].get("ISTIO_DUAL_STACK") == ("true" if dual else None)
    assert found["pilot"].get("ipFamilyPolicy") == ("RequireDualStack" if dual else None)
    defaults = found.get("meshConfig", {}).get("defaultConfig", {})
    assert ("ISTIO_DUAL_STACK" in defaults.get("proxyMetadata", {})) == dual


def test_both_variables_of_proxies_are_kept() -> None:
    scenario = DUAL.model_copy(update={"dns_proxying": True})
    found = values(scenario, ids.istiod("cluster1"))
    metadata = found["meshConfig"]["defaultConfig"]["proxyMetadata"]
    assert metadata == {"ISTIO_META_DNS_CAPTURE": "true", "ISTIO_DUAL_STACK": "true"}


@pytest.mark.parametrize("scenario", [PLAIN, IPV6, DUAL])
def test_gateways_have_addresses_of_both_families_in_dual_stack(scenario: Scenario) -> None:
    wanted = "RequireDualStack" if scenario.is_dual_stack else None
    by_istioctl = values(scenario, ids.gateway("cluster1"))["gateways"]["istio-ingressgateway"]
    assert by_istioctl.get("ipFamilyPolicy") == wanted
    by_helm = values(scenario, ids.gateway("cluster1"), FOLDER)
    assert by_helm.get("service", {}).get("ipFamilyPolicy") == wanted


@pytest.mark.parametrize(
    ("families", "place"),
    [(["IPv4"], 0), (["IPv6"], 0), (["IPv4", "IPv6"], 0), (["IPv6", "IPv4"], 1)],
)
def test_remotes_find_istiod_by_the_primary_family(families: list[IpFamily], place: int) -> None:
    step = plan(of(REMOTE, *families), BUILT)[ids.gateway_address("cluster1")]
    assert f"ingress[{place}].ip" in step.commands[-1].argv[-1]


@pytest.mark.parametrize("scenario", [PLAIN, IPV6, DUAL])
def test_samples_have_addresses_of_both_families_in_dual_stack(scenario: Scenario) -> None:
    step = workload_plan(scenario, BUILT)[ids.helloworld_service("cluster1")]
    (text,) = step.files.values()
    wanted = "PreferDualStack" if scenario.is_dual_stack else None
    assert yaml.safe_load(text)["spec"].get("ipFamilyPolicy") == wanted


# Probes -------------------------------------------------------------------------------------------


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class _OfIpv6(HTTPServer):
    address_family = socket.AF_INET6


def run_here(argv: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_connections_to_addresses_of_ipv6() -> None:
    with _OfIpv6(("::1", 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        port = server.server_port
        kube: Any = FakeKube(run_here, [pod("plain")])
        seen = connections(kube, pod("plain"), [("::1", port), ("::1", 9)], seconds=3)
        server.shutdown()
    assert [each.reach for each in seen] == [Reach.OPEN, Reach.REFUSED]
    assert str(seen[0]) == f"[::1]:{port} open, HTTP 200"
    assert seen[1].message == "Connection refused"


def test_endpoints_of_envoy_are_written_as_targets() -> None:
    address = {"socket_address": {"address": "fd00::5", "port_value": 5000}}
    statuses = {"cluster_statuses": [{"name": "c", "host_statuses": [{"address": address}]}]}
    (endpoint,) = read_endpoints(SOURCE, "c", statuses).endpoints
    assert endpoint.target == "[fd00::5]:5000"


@pytest.mark.parametrize(
    ("family", "option"), [("IPv4", ["--ipv4"]), ("IPv6", ["--ipv6"]), (None, [])]
)
def test_requests_can_be_kept_to_a_family(family: IpFamily | None, option: list[str]) -> None:
    hello = "\x1e0 200 1 0.01 http://helloworld#1 \n"
    kube: Any = FakeKube(
        lambda argv: "Hello version: v1, instance: a\n" + hello + "\x1d2\n", [pod("sleep")]
    )
    sample = requests(kube, 1, family=family)
    assert sample.versions == {"v1": 1}
    ((_, *argv),) = kube.asked
    assert [each for each in argv if each.startswith("--ip")] == option


# Requirements -------------------------------------------------------------------------------------


def by_family(**samples: Any) -> ServiceProbes:
    """Requests to each family get that sample."""
    return ServiceProbes(requests=lambda kube, count, *, family, **_: samples[family][kube.name])


DUAL_MULTI = of(MULTI, "IPv4", "IPv6")


@pytest.mark.parametrize(
    ("of_ipv6", "finding"),
    [
        (traffic(v1=20, v2=20), ""),
        (traffic(3, v1=18, v2=19), "40 requests to addresses of IPv6 without an error"),
        (traffic(v1=40), "expected answers from v1, v2 at addresses of IPv6, too"),
    ],
)
def test_both_families_have_to_answer(of_ipv6: Any, finding: str) -> None:
    probes = by_family(IPv4=traffic(v1=20, v2=20), IPv6=of_ipv6)
    usual = traffic(v1=100, v2=100)
    outcome = checked(traffic_1, mesh(FakeView(DUAL_MULTI), COMPLETE, usual), probes)
    assert (finding in found(outcome)) if finding else outcome.result == "met"
    assert outcome.figures["cluster1.ipv6.requests"] == 40


def test_each_family_may_be_another_client_to_a_hash() -> None:
    probes = by_family(IPv4=traffic(v1=40), IPv6=traffic(v2=40))
    keeping = {
        name: replace(each, balancing=Balancing(by_hash=True)) for name, each in COMPLETE.items()
    }
    usual = traffic(v1=100, v2=100)
    assert checked(traffic_1, mesh(FakeView(DUAL_MULTI), keeping, usual), probes).result == "met"


def test_pods_are_tried_at_all_of_their_addresses() -> None:
    def check(reach: dict[str, Reach]) -> Any:
        def connection(kube: Any, client: Pod, address: str, port: int, *, seconds: float) -> Any:
            own = address.rpartition("-")[0] == kube.name
            state = Reach.OPEN if own else reach[address.rpartition("-")[2]]
            return Connection(SOURCE, address, port, state, 0, 0, "")

        view = FakeView(DUAL)
        for name, kube in view.kube.items():
            made = replace(pod("p", ip=f"{name}-4"), further_ips=(f"{name}-6",))
            kube.pod_of = lambda namespace, selector, made=made: made
        return checked(network_1, mesh(view), network_1.Probes(connection=connection))

    apart = check({"4": Reach.TIMED_OUT, "6": Reach.TIMED_OUT})
    assert apart.result == "met"
    assert apart.figures["cluster1.to.cluster2.other_family"] == "timed out"
    leaky = check({"4": Reach.TIMED_OUT, "6": Reach.OPEN})
    assert "to be out of reach for pods, but saw cluster2-6" in found(leaky)


def test_pods_tell_all_of_their_addresses() -> None:
    item = {
        "metadata": {"name": "p", "namespace": "sample", "uid": "1"},
        "spec": {"containers": []},
        "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
    }
    read = Pod.read(item)
    assert (read.ip, read.further_ips) == ("10.0.0.1", ("fd00::1",))
