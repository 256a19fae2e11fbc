"""The plan of an installation: complete, in an order that works, as parallel as can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from mesh_examples import BUILT, RELEASED, SCENARIOS, meshes

from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import exposure, ids
from mesh_fixtures.install.method import merged
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.step import Command, Plan, Step, references, substitute
from mesh_fixtures.scenario import Scenario

FEW = settings(max_examples=30)


def step(step_id: str, *needs: str, commands: tuple[Command, ...] = ()) -> Step:
    return Step(
        id=step_id,
        cluster="c",
        section="S",
        title="t",
        needs=needs,
        commands=commands,
        deadline=1,
    )


def spec(text: str) -> Any:
    document = yaml.safe_load(text)
    assert document["kind"] == "IstioOperator"
    return document["spec"]


def file_of(made: Plan, step_id: str) -> Any:
    (content,) = made[step_id].files.values()
    return spec(content)


def argv_of(made: Plan, step_id: str) -> list[str]:
    return [" ".join(command.argv) for command in made[step_id].commands]


@FEW
@given(meshes())
def test_whatever_the_mesh_every_step_comes_after_what_it_relies_on(scenario: Scenario) -> None:
    made = plan(scenario, BUILT)
    before = {each.id: made.needed_by(each.id) for each in made.steps}
    for cluster in (each.name for each in scenario.primaries):
        assert ids.cacerts(cluster) in before[ids.istiod(cluster)]
    for cluster in (each.name for each in scenario.remotes):
        primary = scenario.control_plane_of(cluster)
        assert ids.cacerts(cluster) in before[ids.remote(cluster)]
        assert ids.gateway_address(primary) in before[ids.remote(cluster)]
        for owner in (each.name for each in scenario.primaries):
            access = ids.remote_secret(of=cluster, installed_in=owner)
            assert ids.control_plane_annotation(cluster) in before[access]
        own = ids.remote_secret(of=cluster, installed_in=primary)
        assert own in before[ids.attached(cluster)]
    for secret in scenario.remote_secrets:
        needed = before[ids.remote_secret(of=secret.of, installed_in=secret.installed_in)]
        assert ids.istiod(secret.installed_in) in needed
        ready = ids.istiod if scenario.cluster(secret.of).is_primary else ids.remote
        assert ready(secret.of) in needed


@FEW
@given(meshes())
def test_whatever_the_mesh_steps_exist_exactly_where_the_scenario_says(scenario: Scenario) -> None:
    present = {each.id for each in plan(scenario, BUILT).steps}
    for cluster in (each.name for each in scenario.clusters):
        is_primary = scenario.cluster(cluster).is_primary
        expected = {
            ids.system_namespace(cluster): True,
            ids.cacerts(cluster): True,
            ids.network_label(cluster): scenario.is_multi_network,
            ids.istiod(cluster): is_primary,
            ids.remote(cluster): not is_primary,
            ids.attached(cluster): not is_primary,
            ids.control_plane_annotation(cluster): not is_primary,
            ids.gateway(cluster): scenario.needs_gateway(cluster),
            ids.gateway_address(cluster): scenario.needs_gateway(cluster),
            ids.expose_istiod(cluster): scenario.exposes_istiod(cluster),
            ids.expose_services(cluster): scenario.exposes_services(cluster),
        }
        assert {step_id: step_id in present for step_id in expected} == expected
    secrets = {
        ids.remote_secret(of=secret.of, installed_in=secret.installed_in)
        for secret in scenario.remote_secrets
    }
    assert {each for each in present if each.startswith("remote-secret/")} == secrets


@FEW
@given(meshes())
def test_whatever_the_mesh_secrets_of_one_cluster_are_never_made_at_once(
    scenario: Scenario,
) -> None:
    made = plan(scenario, BUILT)
    for of in {secret.of for secret in scenario.remote_secrets}:
        own = [
            ids.remote_secret(of=of, installed_in=secret.installed_in)
            for secret in scenario.remote_secrets
            if secret.of == of
        ]
        for one in own:
            for other in own:
                ordered = one in made.needed_by(other) or other in made.needed_by(one)
                assert one == other or ordered


@FEW
@given(meshes())
def test_whatever_the_mesh_files_have_one_content_and_commands_use_written_ones(
    scenario: Scenario,
) -> None:
    contents: dict[str, str] = {}
    for each in plan(scenario, BUILT).steps:
        for name, content in each.files.items():
            assert contents.setdefault(name, content) == content
        for command in each.commands:
            for flag, file in zip(command.argv, command.argv[1:], strict=False):
                assert flag != "-f" or file in each.files
        assert 0 < each.deadline <= 300


@FEW
@given(meshes())
def test_whatever_the_mesh_it_is_ordered_and_any_secret_can_be_left_out(
    scenario: Scenario,
) -> None:
    made = plan(scenario, BUILT)
    done: set[str] = set()
    for each in made.ordered:
        assert done >= {*each.needs}
        done.add(each.id)
    for secret in scenario.remote_secrets:
        step_id = ids.remote_secret(of=secret.of, installed_in=secret.installed_in)
        assert len(made.without(step_id).steps) == len(made.steps) - 1


def test_independent_steps_do_not_need_each_other() -> None:
    made = plan(SCENARIOS["multi-primary-multi-network"], BUILT)
    for one, other in (("cluster1", "cluster2"), ("cluster2", "cluster1")):
        for step_id in (ids.istiod(one), ids.gateway(one), ids.expose_services(one)):
            assert not any(need.endswith(f"/{other}") for need in made.needed_by(step_id))
    remote = plan(SCENARIOS["primary-remote-multi-network"], BUILT)
    assert ids.expose_istiod("cluster1") not in remote.needed_by(ids.remote("cluster2"))
    assert ids.gateway("cluster1") not in remote.needed_by(ids.expose_istiod("cluster1"))


def test_the_commands_of_a_primary() -> None:
    made = plan(SCENARIOS["multi-primary-multi-network"], BUILT)
    assert argv_of(made, "system-namespace/cluster1") == [
        "kubectl --context=${CTX_CLUSTER1} create namespace istio-system"
    ]
    (cacerts,) = argv_of(made, "cacerts/cluster1")
    assert "create secret generic cacerts --from-file=certs/cluster1/ca-cert.pem" in cacerts
    (label,) = argv_of(made, "network-label/cluster2")
    assert label.endswith("label namespace istio-system topology.istio.io/network=network2")
    (install,) = argv_of(made, "istiod/cluster1")
    assert install.startswith("istioctl install --context=${CTX_CLUSTER1} -y -f cluster1.yaml")
    (secret,) = made["remote-secret/cluster2/cluster1"].commands
    assert " ".join(secret.argv) == (
        "istioctl create-remote-secret --context=${CTX_CLUSTER2} --name=cluster2 "
        "--server=${API_SERVER_CLUSTER2}"
    )
    assert " ".join(secret.pipe_to) == "kubectl --context=${CTX_CLUSTER1} apply -f -"


def test_the_operator_of_a_primary() -> None:
    made = file_of(plan(SCENARIOS["multi-primary"], BUILT), "istiod/cluster2")
    assert (made["hub"], made["tag"]) == ("localhost", "7")
    assert made["values"] == {
        "telemetry": {"enabled": False},
        "pilot": {"env": {"PILOT_ENABLE_ALPN_FILTER": "false"}},
        "global": {
            "proxy": {"logLevel": "info", "readinessPeriodSeconds": 1},
            "meshID": "mesh1",
            "multiCluster": {"clusterName": "cluster2"},
            "network": "network1",
            "imagePullPolicy": "IfNotPresent",
        },
    }


def test_only_a_primary_with_remotes_is_external() -> None:
    with_remote = plan(SCENARIOS["primary-remote"], BUILT)
    assert file_of(with_remote, "istiod/cluster1")["values"]["global"]["externalIstiod"] is True
    alone = plan(SCENARIOS["multi-primary"], BUILT)
    assert "externalIstiod" not in file_of(alone, "istiod/cluster1")["values"]["global"]


def test_released_images_bring_no_settings() -> None:
    made = file_of(plan(SCENARIOS["multi-primary"], RELEASED), "istiod/cluster1")
    assert set(made["values"]) == {"global"}


def test_the_operator_of_a_remote() -> None:
    made = plan(SCENARIOS["primary-remote-multi-network"], BUILT)
    operator = file_of(made, "remote/cluster2")
    assert operator["profile"] == "remote"
    assert operator["values"] == {
        "telemetry": {"enabled": False},
        "istiodRemote": {"injectionPath": "/inject/cluster/cluster2/net/network2"},
        "global": {
            "proxy": {"logLevel": "info"},
            "remotePilotAddress": "${DISCOVERY_ADDRESS_CLUSTER1}",
            "imagePullPolicy": "IfNotPresent",
        },
    }
    assert made["gateway-address/cluster1"].captures == ("DISCOVERY_ADDRESS_CLUSTER1",)
    assert made["gateway-address/cluster2"].captures == ()


def test_the_operator_of_a_gateway() -> None:
    operator = file_of(plan(SCENARIOS["multi-primary-multi-network"], BUILT), "gateway/cluster2")
    assert operator["profile"] == "empty"
    assert (operator["hub"], operator["tag"]) == ("localhost", "7")
    assert operator["values"]["global"] == {
        "network": "network2",
        "imagePullPolicy": "IfNotPresent",
    }
    (gateway,) = operator["components"]["ingressGateways"]
    assert gateway["label"]["topology.istio.io/network"] == "network2"
    ports = {port["port"] for port in gateway["k8s"]["service"]["ports"]}
    assert ports == {15021, 15443, 15012, 15017}


def test_no_install_removes_what_another_one_made() -> None:
    made = plan(SCENARIOS["primary-remote-multi-network"], BUILT)
    for cluster, first in (("cluster1", ids.istiod), ("cluster2", ids.remote)):
        contents = [
            *made[first(cluster)].files.values(),
            *made[ids.gateway(cluster)].files.values(),
        ]
        operator, gateway = (yaml.safe_load(content) for content in contents)
        assert "metadata" not in operator, "its name is then istioctl's own"
        assert gateway["metadata"]["name"] == "eastwest"


def test_what_is_exposed() -> None:
    gateway, service = yaml.safe_load_all(exposure.istiod_manifest())
    assert [server["port"]["number"] for server in gateway["spec"]["servers"]] == [15012, 15017]
    destinations = {
        tls["match"][0]["port"]: tls["route"][0]["destination"]["port"]["number"]
        for tls in service["spec"]["tls"]
    }
    assert destinations == {15012: 15012, 15017: 443}
    (server,) = yaml.safe_load(exposure.services_manifest())["spec"]["servers"]
    assert server["hosts"] == ["*.local"]
    assert server["tls"] == {"mode": "AUTO_PASSTHROUGH"}


@pytest.mark.parametrize("version", ["1.23.6", "1.33.0", "1.3", "1.310", "2.0", "unknown", ""])
def test_a_version_that_the_recipe_does_not_know(version: str) -> None:
    images = ImageSet("x", version, "h", "t", {"v1": "i"}, "s")
    with pytest.raises(MachineError, match=r"Istio 1\.24 to 1\.32") as raised:
        plan(SCENARIOS["multi-primary"], images)
    assert "--mesh-istioctl" in raised.value.remedy


@pytest.mark.parametrize("version", ["1.24.0", "1.32-alpha.0123abcd", "v1.31.1"])
def test_a_version_that_the_recipe_knows(version: str) -> None:
    images = ImageSet("x", version, "h", "t", {"v1": "i"}, "s")
    assert plan(SCENARIOS["multi-primary"], images).steps


def test_merged_values() -> None:
    base: Mapping[str, Any] = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(base, {"a": {"b": 9}, "d": {"e": 1}}) == {
        "a": {"b": 9, "c": 2},
        "d": {"e": 1},
    }
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_without_keeps_the_order_of_what_is_left() -> None:
    chain = Plan("x", (step("a"), step("b", "a"), step("c", "b")), ())
    assert chain.without("b")["c"].needs == ("a",)
    with pytest.raises(KeyError):
        chain.without("z")


def test_without_a_step_whose_variable_is_needed() -> None:
    made = plan(SCENARIOS["primary-remote"], BUILT)
    with pytest.raises(ValueError, match="DISCOVERY_ADDRESS_CLUSTER1"):
        made.without("gateway-address/cluster1")


def test_replace_keeps_the_place() -> None:
    made = Plan("x", (step("a"), step("b", "a")), ())
    other = step("a", commands=(Command(("true",)),))
    assert made.replace(other).steps == (other, made["b"])
    with pytest.raises(KeyError):
        made.replace(step("z"))


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((step("a"), step("a")), "repeated step ids: a"),
        ((step("a", "z"),), "a needs unknown steps: z"),
        ((step("a", "b"), step("b", "a")), "need each other"),
        ((step("a", "a"),), "need each other"),
        ((step("a", commands=(Command(("x", "${NOBODY}")),)),), "unknown variables: NOBODY"),
        (
            (
                step("a", commands=(Command(("x",), capture="X"),)),
                step("b", commands=(Command(("y", "${X}")),)),
            ),
            "b refers to unknown variables: X",
        ),
        ((step("a", commands=(Command(("x", "${X}"), capture="X"),)),), "unknown variables: X"),
    ],
)
def test_a_plan_that_does_not_fit(steps: tuple[Step, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Plan("x", steps, ())


def test_a_variable_is_known_after_the_step_that_captures_it() -> None:
    first = step("a", commands=(Command(("x",), capture="X"), Command(("y", "${X}"))))
    second = step("b", "a", commands=(Command(("y", "${X}${GIVEN}")),))
    assert Plan("x", (first, second), ("GIVEN",)).ordered == (first, second)


def test_ordered_prefers_the_order_of_reading() -> None:
    steps = (step("c", "b"), step("a"), step("b"))
    assert [each.id for each in Plan("x", steps, ()).ordered] == ["a", "b", "c"]


def test_a_command_reads_from_one_place() -> None:
    with pytest.raises(ValueError, match="neither a pipe nor a capture"):
        Command(("a",), stdin="x", pipe_to=("b",))


def test_references_are_written_in_one_way() -> None:
    text = "${A_1} $B ${c} {.items[0]} $(x)"
    assert references(text) == {"A_1"}
    assert substitute(text, {"A_1": "$B"}) == "$B $B ${c} {.items[0]} $(x)"
    with pytest.raises(KeyError):
        substitute(text, {})
