"""A mesh whose proxies answer DNS queries: how it is described, installed, found and asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_kube import FakeKube, pod, result
from mesh_examples import BUILT, SCENARIOS

from mesh_fixtures.errors import ProbeError, ScenarioError
from mesh_fixtures.install import ids
from mesh_fixtures.install.plan import plan
from mesh_fixtures.kube import ConfigMap, Meta
from mesh_fixtures.lab.kubeconfig.survey import dns_proxying
from mesh_fixtures.probe.mesh_configuration import configurations_in
from mesh_fixtures.probe.name_lookups import ask_names, read_names
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.scenario import as_yaml, load_scenario
from mesh_fixtures.workloads import workload_plan

PLAIN = SCENARIOS["multi-primary"]
PROXYING = PLAIN.model_copy(update={"dns_proxying": True})


def written(folder: Path, value: str) -> Path:
    file = folder / "mesh.yaml"
    file.write_text(f"{as_yaml(PLAIN)}dnsProxying: {value}\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(("value", "proxying"), [("true", True), ("false", False)])
def test_a_scenario_says_it(value: str, proxying: bool, tmp_path: Path) -> None:
    read = load_scenario(written(tmp_path, value))
    assert read.dns_proxying == proxying
    assert ("dns-proxying" in read.features) == proxying
    assert ("dnsProxying: true\n" in as_yaml(read)) == proxying
    assert read.digest == (PROXYING if proxying else PLAIN).digest
    assert read.describes_same(PLAIN)


@pytest.mark.parametrize("value", ["maybe", "[a]", "''", "{a: b}"])
def test_what_is_neither_true_nor_false(value: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="true or false") as raised:
        load_scenario(written(tmp_path, value))
    assert "dnsProxying" in raised.value.where


def test_it_makes_another_digest() -> None:
    assert PROXYING.digest != PLAIN.digest


def test_istiod_is_installed_with_it() -> None:
    def metadata(scenario: Any) -> dict[str, Any]:
        (operator,) = map(
            yaml.safe_load, plan(scenario, BUILT)[ids.istiod("cluster1")].files.values()
        )
        mesh = operator["spec"]["values"].get("meshConfig", {})
        return dict(mesh.get("defaultConfig", {}).get("proxyMetadata", {}))

    assert metadata(PROXYING)["ISTIO_META_DNS_CAPTURE"] == "true"
    assert "ISTIO_META_DNS_CAPTURE" not in metadata(PLAIN)


def test_each_cluster_gets_what_others_know_by_name_only() -> None:
    made = workload_plan(PROXYING, BUILT)
    names, pods, files = set(), set(), set()
    for cluster in ("cluster1", "cluster2"):
        ((file, text),) = made[ids.named(cluster)].files.items()
        files.add(file)
        only, headless, stateful = yaml.safe_load_all(text)
        names.add(only["metadata"]["name"])
        assert only["spec"]["selector"] == {"app": "helloworld"}
        assert headless["spec"]["clusterIP"] == "None"
        assert headless["metadata"]["name"] == stateful["spec"]["serviceName"]
        template = stateful["spec"]["template"]
        assert template["metadata"]["labels"].items() >= headless["spec"]["selector"].items()
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        pods.add(stateful["metadata"]["name"])
        (awaited,) = made[ids.named_ready(cluster)].commands
        assert f"statefulset/{stateful['metadata']['name']}" in awaited.argv
    assert len(names) == len(pods) == len(files) == 2
    assert not [each for each in workload_plan(PLAIN, BUILT).steps if each.id.startswith("named")]


@pytest.mark.parametrize(
    ("mesh", "proxying"),
    [
        ("defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}}", True),
        ("defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: true}}", True),
        ("defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'false'}}", False),
        ("defaultConfig: {proxyMetadata: null}", False),
        ("{}", False),
        ("[", False),
    ],
)
def test_it_is_found_in_the_mesh_configuration(mesh: str, proxying: bool) -> None:
    maps = [ConfigMap(Meta("other"), {"mesh": "a"}), ConfigMap(Meta("istio"), {"mesh": mesh})]
    assert dns_proxying(each.content for each in configurations_in(maps)) == proxying


# What Sleep gets ----------------------------------------------------------------------------------

TABLE = {"table": {"a.sample.svc.cluster.local": {"ips": ["10.1.0.5"]}, "b": {}}}


def printed(table: str, *requests: str) -> str:
    return f"{table}\x1d{''.join(requests)}\x1d"


def request(at: int, body: str, code: int = 0, message: str = "") -> str:
    status = 200 if body else 0
    record = f"{code} {status} {int(not code)} 0.010 http://x:5000/hello#{at} {message}".rstrip()
    return f"{body}\x1e{record}\n"


def test_what_a_client_gets_by_name() -> None:
    said = printed(
        f"{json.dumps(TABLE)}\n200",
        request(1, "Hello version: v1, instance: hello-1\n"),
        request(2, "", 6, "Could not resolve host"),
    )
    kube = FakeKube(lambda argv: said, [pod("sleep-1")])
    asked = ask_names(kube.as_client(), ["a.sample", "c.sample"])
    assert asked.table == {"a.sample.svc.cluster.local": {"10.1.0.5"}, "b": frozenset()}
    one, other = asked.answers["a.sample"], asked.answers["c.sample"]
    assert isinstance(one, Answer)
    assert one.instance == "hello-1"
    assert isinstance(other, Failure)
    assert other.curl_exit == 6
    (argv,) = kube.asked
    assert argv[-2:] == ("http://a.sample:5000/hello", "http://c.sample:5000/hello")


def test_an_agent_that_answers_no_queries_has_no_table() -> None:
    assert read_names(result(printed("{}\n404")), []).table is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "curl: not found",
        printed("\n000"),
        printed("{}\n200"),
        printed("{}\n200", request(2, "", 6)),
        printed('{"table": [1]}\n200', request(1, "", 6)),
    ],
)
def test_what_is_not_accounted_for_is_an_error(said: str) -> None:
    with pytest.raises(ProbeError, match="an answer for each that is asked for"):
        read_names(result(said), ["a.sample"])
