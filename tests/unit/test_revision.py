"""A mesh that is installed as a revision: how it is described, installed and chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from mesh_examples import BUILT, FOLDER, MORE, SCENARIOS

from mesh_fixtures.charts import Charts
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.install import ids
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.step import Plan
from mesh_fixtures.scenario import Scenario, as_yaml, load_scenario
from mesh_fixtures.workloads import workload_plan

PLAIN = SCENARIOS["primary-remote-multi-network"]
CANARY = MORE["primary-remote-multi-network-revision"]
METHODS = pytest.mark.parametrize("charts", [None, FOLDER], ids=["istioctl", "helm"])


def calls(made: Plan, step_id: str) -> list[str]:
    """Its commands, with what reads their output."""
    return [
        " | ".join(" ".join(argv) for argv in (command.argv, command.pipe_to) if argv)
        for command in made[step_id].commands
    ]


def test_a_scenario_says_it(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(as_yaml(CANARY), encoding="utf-8")
    read = load_scenario(file)
    assert read.revision == "canary"
    assert read.digest == CANARY.digest
    assert read.describes_same(PLAIN)
    assert "revision" not in as_yaml(PLAIN)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("default", "no such key"),
        ("1.31", "lower-case letters"),
        ("''", "lower-case letters"),
        ("x" * 51, "50"),
        ("[a]", "string"),
    ],
)
def test_what_is_no_revision(value: str, wanted: str, tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(f"{as_yaml(PLAIN)}revision: {value}\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=wanted) as raised:
        load_scenario(file)
    assert "revision" in raised.value.where


@METHODS
@pytest.mark.parametrize(
    "scenario", [pytest.param(each, id=each.id) for each in MORE.values() if each.external is None]
)
def test_every_part_is_of_the_revision(scenario: Scenario, charts: Charts | None) -> None:
    revision = scenario.revision
    for step in plan(scenario, BUILT, charts).steps:
        kind = step.id.split("/")[0]
        for name, text in step.files.items() if kind in ("istiod", "remote", "gateway") else ():
            values: Any = yaml.safe_load(text)
            assert values.get("spec", values).get("revision") == revision, step.id
            assert (f".{revision}." in name) == (revision is not None)


@METHODS
def test_its_istiod_is_exposed(charts: Charts | None) -> None:
    (text,) = plan(CANARY, BUILT, charts)[ids.expose_istiod("cluster1")].files.values()
    _, service = yaml.safe_load_all(text)
    for route in service["spec"]["tls"]:
        assert route["match"][0]["sniHosts"] == ["*"]
        assert route["route"][0]["destination"]["host"].startswith("istiod-canary.istio-system.")


@METHODS
def test_it_is_the_default_one_in_every_cluster(charts: Charts | None) -> None:
    made = plan(CANARY, BUILT, charts)
    for cluster, after in (("cluster1", ids.istiod), ("cluster2", ids.attached)):
        step_id = ids.default_revision(cluster)
        assert after(cluster) in made.needed_by(step_id)
        said = "\n".join(calls(made, step_id))
        assert ("--set defaultRevision=canary" in said) == (charts is not None)
        assert ("istioctl tag set default --revision=canary" in said) == (charts is None)
    plain = plan(PLAIN, BUILT, charts)
    assert not any(each.id.startswith("default-revision/") for each in plain.steps)


@pytest.mark.parametrize(
    ("scenario", "label"),
    [(CANARY, "istio.io/rev=canary"), (PLAIN, "istio-injection=enabled")],
    ids=["revision", "none"],
)
def test_the_sample_namespace_chooses_it(scenario: Scenario, label: str) -> None:
    made = workload_plan(scenario, BUILT)
    for cluster in scenario.clusters:
        assert calls(made, ids.sample_namespace(cluster.name))[1].endswith(f"sample {label}")
