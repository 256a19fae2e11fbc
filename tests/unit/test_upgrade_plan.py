"""The plan of an upgrade: phases in an order that works, each a plan by itself, by both methods."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from mesh_examples import MORE, SCENARIOS, meshes
from test_runbook import is_valid, script

from mesh_fixtures import supported
from mesh_fixtures.artifacts import helm, versions
from mesh_fixtures.artifacts.images import image_set
from mesh_fixtures.errors import MachineError
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.runbook import render
from mesh_fixtures.install.upgrade import (
    Phase,
    Version,
    revision_of,
    rollback,
    trial,
    upgrade,
)
from mesh_fixtures.options import UPGRADES, Strategy
from mesh_fixtures.scenario import Scenario

FEW = settings(max_examples=20, deadline=None)
EARLIER = next(each for each in versions.ISTIO_MODULES if each != versions.ISTIO)
OLD, NEW = Version(image_set(EARLIER)), Version(image_set())
BY_ISTIOCTL = (OLD, NEW)
BY_HELM = (
    replace(OLD, charts=helm.built_charts(OLD.name)),
    replace(NEW, charts=helm.built_charts(NEW.name)),
)
METHODS = pytest.mark.parametrize("method", [BY_ISTIOCTL, BY_HELM], ids=["istioctl", "helm"])
STRATEGIES = pytest.mark.parametrize("strategy", UPGRADES)
REVISION = revision_of(NEW.name)
REMOTE = SCENARIOS["primary-remote-multi-network"]
PRIMARIES = SCENARIOS["multi-primary-multi-network"]


def order(phases: tuple[Phase, ...]) -> list[str]:
    return [f"{each.name} {each.cluster}" for each in phases]


def calls(phases: tuple[Phase, ...]) -> list[str]:
    """Every command, with what reads its output."""
    return [
        " | ".join(" ".join(argv) for argv in (command.argv, command.pipe_to) if argv)
        for phase in phases
        for step in phase.plan.ordered
        for command in step.commands
    ]


def named(phases: tuple[Phase, ...], step_id: str) -> Any:
    (step,) = [each for phase in phases for each in phase.plan.steps if each.id == step_id]
    return step


def content(phases: tuple[Phase, ...], step_id: str) -> Any:
    (text,) = named(phases, step_id).files.values()
    return yaml.safe_load(text)


@METHODS
@STRATEGIES
@FEW
@given(scenario=meshes())
def test_whatever_the_mesh_a_primary_comes_before_its_remotes(
    method: tuple[Version, Version], strategy: Strategy, scenario: Scenario
) -> None:
    phases = upgrade(scenario, *method, strategy)
    place = {(each.kind, each.cluster): n for n, each in enumerate(phases)}
    assert len(place) == len(phases)
    for cluster in scenario.clusters:
        name = cluster.name
        before = place["control-plane", name]
        if scenario.needs_gateway(name):
            assert before < place["gateway", name] < place["servers", name]
        assert before < place["servers", name] < place["clients", name]
        if cluster.is_primary:
            continue
        primary = scenario.control_plane_of(name)
        assert place["control-plane", primary] < before
        if strategy == "revision":
            assert place["removal", name] < place["removal", primary]
    if strategy == "revision":
        last = max(n for (kind, _), n in place.items() if kind == "clients")
        assert all(n > last for (kind, _), n in place.items() if kind == "removal")


@METHODS
@STRATEGIES
@FEW
@given(scenario=meshes())
def test_whatever_the_mesh_all_of_it_is_a_script(
    method: tuple[Version, Version], strategy: Strategy, scenario: Scenario
) -> None:
    phases = upgrade(scenario, *method, strategy)
    old = method[0]
    first = plan(scenario, old.images, old.charts, old.istioctl)
    assert is_valid(script(render(first, *(each.plan for each in phases))))
    for phase in phases:
        assert set(phase.plan.variables) <= set(first.variables)
        assert {step.section for step in phase.plan.steps} == {phase.title}


@METHODS
@STRATEGIES
def test_files_that_commands_name_are_written_before(
    method: tuple[Version, Version], strategy: Strategy
) -> None:
    for scenario in SCENARIOS.values():
        written: set[str] = set()
        for phase in upgrade(scenario, *method, strategy):
            for step in phase.plan.ordered:
                written |= set(step.files)
                for command in step.commands:
                    for flag, file in zip(command.argv, command.argv[1:], strict=False):
                        assert flag != "-f" or file in written, step.id


def test_a_mesh_by_revision_is_not_upgraded() -> None:
    with pytest.raises(MachineError, match="revision canary") as raised:
        upgrade(MORE["multi-primary-revision"], *BY_ISTIOCTL, "in-place")
    assert "--mesh-upgrade-from" in str(raised.value)


@STRATEGIES
def test_it_is_done_by_the_new_istioctl_alone(strategy: Strategy) -> None:
    used = Counter(call.split()[0] for call in calls(upgrade(REMOTE, OLD, NEW, strategy)))
    assert set(used) == {"kubectl", NEW.istioctl}


def test_in_place_by_istioctl() -> None:
    phases = upgrade(PRIMARIES, OLD, NEW, "in-place")
    each = ("control-plane", "gateway", "servers", "clients")
    assert order(phases) == [f"{kind} cluster{n}" for n in (1, 2) for kind in each]
    (call,) = [call for call in calls(phases[:1]) if " upgrade " in call]
    assert call == (
        f"{NEW.istioctl} upgrade --context=${{CTX_CLUSTER1}} -y -f cluster1.yaml "
        "--readiness-timeout=210s"
    )
    spec = content(phases, "new-istiod/cluster1")["spec"]
    assert (spec["tag"], spec.get("revision")) == (versions.ISTIO, None)
    restarts = [call for call in calls(phases) if "rollout restart" in call]
    assert [call.rpartition(" ")[2].partition("/")[2] for call in restarts] == [
        *("istio-eastwestgateway", "helloworld-v1", "sleep"),
        *("istio-eastwestgateway", "helloworld-v2", "sleep"),
    ]
    assert not [call for call in calls(phases) if "label" in call or "uninstall" in call]


def test_in_place_by_helm() -> None:
    phases = upgrade(REMOTE, *BY_HELM, "in-place")
    releases = [call.split()[3] for call in calls(phases) if call.startswith("helm upgrade")]
    assert releases == [
        *("istio-base", "istiod", "istio-base", "istiod"),
        *("istio-eastwestgateway", "istio-eastwestgateway"),
    ]


def test_by_revision_by_istioctl() -> None:
    phases = upgrade(REMOTE, OLD, NEW, "revision")
    assert order(phases) == [
        *("control-plane cluster1", "control-plane cluster2"),
        *("gateway cluster1", "gateway cluster2"),
        *("servers cluster1", "clients cluster1", "servers cluster2", "clients cluster2"),
        *("removal cluster2", "removal cluster1"),
    ]
    for step in ("new-istiod/cluster1", "new-remote/cluster2", "new-gateway/cluster2"):
        assert content(phases, step)["spec"]["revision"] == REVISION
    route = content(phases, "expose-new-istiod/cluster1")
    names = {name for each in route["spec"]["tls"] for name in each["match"][0]["sniHosts"]}
    assert names == {f"istiod-{REVISION}.istio-system.svc{end}" for end in ("", ".cluster.local")}
    labelled = [call for call in calls(phases) if " label " in call]
    assert [call.partition(" label ")[2] for call in labelled] == [
        "namespace sample istio-injection- istio.io/rev=stable --overwrite"
    ] * 2
    removal = [call for phase in phases[-2:] for call in calls((phase,))]
    assert [call.split(" --context")[0] for call in removal[:4]] == [
        f"{NEW.istioctl} tag set default --revision={REVISION} --overwrite -y",
        f"{NEW.istioctl} uninstall --revision=default -y",
        f"{NEW.istioctl} tag set default --revision={REVISION} --overwrite -y",
        f"{NEW.istioctl} uninstall --revision=default -y",
    ]
    assert removal[4].endswith("delete virtualservices/istiod-vs")
    assert len(removal) == 5


def test_by_revision_by_helm() -> None:
    phases = upgrade(REMOTE, *BY_HELM, "revision")
    values = content(phases, "new-istiod/cluster1")
    assert values["revision"] == REVISION
    assert content(phases, "new-gateway/cluster1")["revision"] == REVISION
    tags = [call for call in calls(phases) if call.startswith("helm template")]
    assert [call.partition("revisionTags=")[2].split()[0] for call in tags] == [
        *("{stable}", "{stable}", "{default}", "{default}"),
    ]
    assert all(call.endswith("apply -f -") for call in tags)
    removal = [call for phase in phases[-2:] for call in calls((phase,)) if "helm u" in call]
    assert [call.split()[1] for call in removal] == ["uninstall", "upgrade"] * 2
    assert f"defaultRevision={REVISION}" in removal[1]
    assert "profile=remote" in removal[1]
    assert "profile=remote" not in removal[3]


def test_half_of_it_and_back() -> None:
    there, back = trial(REMOTE, OLD, NEW), rollback(REMOTE, OLD, NEW)
    assert order(there)[-1] == "clients cluster1"
    assert order(back) == [
        *("servers-back cluster1", "clients-back cluster1", "control-plane-back cluster1"),
        *("gateway-back cluster2", "gateway-back cluster1"),
        *("removal cluster2", "removal cluster1"),
    ]
    assert len({(each.name, each.cluster) for each in (*there, *back)}) == len(there) + len(back)
    installed = [call.split()[0] for call in calls(back) if " install " in call]
    assert installed == [OLD.istioctl] * 3
    gateway = content(back, "old-gateway/cluster1")["spec"]
    assert (gateway["tag"], gateway.get("revision")) == (OLD.name, None)
    assert [call.split(" --context")[0] for call in calls(back[-1:])] == [
        f"{NEW.istioctl} tag remove stable -y",
        f"{NEW.istioctl} uninstall --revision={REVISION} -y",
        "kubectl",
    ]
    assert calls(back[-1:])[-1].endswith(f"delete virtualservices/istiod-vs-{REVISION}")


def test_back_by_helm() -> None:
    back = rollback(PRIMARIES, *BY_HELM)
    assert order(back) == [
        *("servers-back cluster1", "clients-back cluster1", "gateway-back cluster1"),
        "removal cluster1",
    ]
    removal = calls(back[-1:])
    assert removal[0].endswith("delete mutatingwebhookconfiguration istio-revision-tag-stable")
    assert removal[1].startswith(f"helm uninstall istiod-{REVISION} ")


@pytest.mark.parametrize(
    ("old", "new", "strategy", "is_supported"),
    [
        ("1.30.1", "1.31.0", "in-place", True),
        ("1.31.0", "1.31.1", "in-place", True),
        ("1.29.1", "1.31.0", "in-place", False),
        ("1.29.1", "1.31.0", "revision", True),
        ("1.28.1", "1.31.0", "revision", False),
        ("1.31.0", "1.30.1", "revision", False),
        ("1.31.0", "1.31.0", "in-place", False),
        ("latest", "1.31.0", "in-place", False),
    ],
)
def test_what_istio_supports(old: str, new: str, strategy: Strategy, is_supported: bool) -> None:
    if is_supported:
        supported.require_upgrade(old, new, strategy)
        return
    with pytest.raises(MachineError, match="--mesh-upgrade-from"):
        supported.require_upgrade(old, new, strategy)


@pytest.mark.parametrize("proxying", [True, False])
def test_pods_with_host_names_are_restarted_where_there_are_any(proxying: bool) -> None:
    scenario = PRIMARIES.model_copy(update={"dns_proxying": proxying})
    whole, back = upgrade(scenario, *BY_ISTIOCTL, "in-place"), rollback(scenario, *BY_ISTIOCTL)
    for phases, names in ((whole, {"stateful-1", "stateful-2"}), (back, {"stateful-1"})):
        said = [each for each in calls(phases) if "statefulset/" in each]
        restarted = {each.rpartition("statefulset/")[2].split()[0] for each in said}
        assert restarted == (names if proxying else set())
