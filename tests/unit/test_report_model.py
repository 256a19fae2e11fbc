"""Reports: what follows from what was seen, and files that say the same when they are read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from report_examples import (
    CAUSE,
    ONE_NETWORK,
    RESULTS,
    STEPS,
    TWO_NETWORKS,
    checked_by,
    report,
    reports,
    seen,
)

from mesh_fixtures.errors import ReportError
from mesh_fixtures.report import Report, build, read, write
from mesh_fixtures.report.baseline import Baseline, make
from mesh_fixtures.report.document import LARGEST_FILE
from mesh_fixtures.report.merging import load, merge
from mesh_fixtures.report.model import LevelReport, Result
from mesh_fixtures.report.schema import DOCUMENTS, file_of, schema
from mesh_fixtures.requirements import REQUIREMENTS


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (["met", "met"], "success"),
        (["met", "not applicable"], "success"),
        (["met", "not run"], "partial"),
        (["met", "inconclusive"], "partial"),
        (["met", "unmet"], "failure"),
        (["unmet", "not run", "inconclusive"], "failure"),
        (["not applicable"], "partial"),
        ([], "partial"),
    ],
)
def test_result_of_a_level(results: list[Result], expected: str) -> None:
    assert LevelReport.of(results).result == expected


@given(st.lists(st.sampled_from(RESULTS)))
def test_success_means_that_nothing_is_left_open(results: list[Result]) -> None:
    found = LevelReport.of(results)
    open_ = {"not run", "inconclusive", "unmet"} & {*results}
    assert (found.result == "success") == (not open_ and "met" in results)
    counted = found.statistics
    assert len(results) == sum(
        (
            counted.passed,
            counted.failed,
            counted.skipped,
            counted.inconclusive,
            counted.not_applicable,
        )
    )


def test_every_requirement_is_reported_with_why_there_is_no_verdict() -> None:
    selected = frozenset({"TRUST-1", "TRUST-2"})
    checked = [checked_by("TRUST-1", "met")]
    made = build(seen(ONE_NETWORK, checked, selected=selected), REQUIREMENTS)
    found = {each.id: (each.result, each.reason) for each in made.requirements}
    assert [*found] == [each.id for each in REQUIREMENTS]
    assert found["TRUST-1"] == ("met", "")
    assert found["TRUST-2"] == ("not run", "the run ended before it")
    assert found["CONTROL-1"] == ("not run", "not selected")
    assert found["GATEWAY-1"] == ("not applicable", "it lacks east-west-gateway")
    assert made.levels["core"].result == "partial"


def test_several_tests_of_a_requirement_count_by_the_worst() -> None:
    checked = [
        checked_by("TRUST-1", "met", seconds=1, figures={"a": 1}),
        checked_by("TRUST-1", "inconclusive", reason="no answer", seconds=2, figures={"b": 2}),
    ]
    (first, *_) = build(seen(ONE_NETWORK, checked), REQUIREMENTS).requirements
    assert (first.result, first.reason, first.seconds) == ("inconclusive", "no answer", 3)
    assert first.figures == {"a": 1, "b": 2}


def test_what_only_a_worker_knows_is_reported_too() -> None:
    own = checked_by("TRUST-1", "met").model_copy(update={"id": "LATENCY-1"})
    made = build(seen(ONE_NETWORK, [own]), REQUIREMENTS)
    assert made.requirements[-1] == own


def test_causes_are_those_that_a_requirement_is_a_consequence_of_or_that_its_test_named() -> None:
    unexplained = CAUSE.model_copy(update={"id": "other", "consequences": ()})
    checked = [
        checked_by("GATEWAY-1", "unmet", causes=("other", "gone")),
        checked_by("TRAFFIC-1", "met"),
    ]
    made = build(seen(TWO_NETWORKS, checked, causes=(CAUSE, unexplained)), REQUIREMENTS)
    causes = {each.id: each.causes for each in made.requirements if each.causes}
    assert causes == {"GATEWAY-1": ("services-not-exposed", "other")}


def test_distribution_of_answers_by_source_cluster() -> None:
    first, second = report().distribution
    assert (first.cluster, first.total, first.failures) == ("cluster1", 200, 0)
    assert second.cluster == "cluster2"
    v1, behind = first.answers
    assert (v1.name, v1.count, v1.share, v1.expected, v1.low, v1.high) == (
        "v1",
        103,
        0.515,
        0.5,
        65,
        135,
    )
    assert v1.holds
    assert behind.name == "v2 (network2)"


def test_without_traffic_there_is_no_distribution() -> None:
    assert report(figures={}).distribution == ()


def test_file_name_holds_topology_provider_and_way_of_installation() -> None:
    assert report().file_name == "multi-primary-multi-network-netns-istioctl-report.yaml"


@given(reports())
def test_what_is_written_is_read(made: Report) -> None:
    assert Report.model_validate(yaml.safe_load(made.as_yaml())) == made


def test_files(tmp_path: Path) -> None:
    made = report({"TRAFFIC-1": "unmet"}, causes=(CAUSE,), errors=("no\nway",))
    write(made, tmp_path / "a" / made.file_name)
    (tmp_path / "a" / "baseline.yaml").write_text("not looked at: {")
    assert [each.name for each in (tmp_path / "a").iterdir() if each.name.startswith(".")] == []
    assert load([tmp_path, tmp_path / "a" / made.file_name]) == (made,)
    assert made.topology.scenario == TWO_NETWORKS
    assert made.steps == STEPS


def changed(change: Callable[[dict[str, object]], object]) -> bytes:
    content = yaml.safe_load(report().as_yaml())
    change(content)
    return yaml.safe_dump(content).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "wanted a ConformanceReport; seen: 'no mapping'"),
        (b"\xff\xfe\x00", "wanted a text in YAML; seen: byte 0 is not UTF-8"),
        (b"\x00", "wanted plain YAML"),
        (b"a: [", "wanted plain YAML"),
        (b"a: &a [1]\nb: *a", "aliases are not allowed in line 2"),
        (b"[" * 1000, "nested too deeply"),
        (b"a: 1\na: 2", "the key 'a' is there twice in line 1"),
        (b"kind: Pony", "wanted a ConformanceReport; seen: 'Pony'"),
        (b"kind: ConformanceReport", "wanted ConformanceReport of mesh-conformance.dev/v1alpha1"),
        (changed(lambda c: c.update(apiVersion="mesh-conformance.dev/v9")), "v1alpha1; seen: "),
        (changed(lambda c: c.update(pony=1)), "pony: unknown key"),
        (changed(lambda c: c.pop("run")), "run: missing"),
        (changed(lambda c: c["levels"]["core"].update(result="success!")), "levels.core.result"),  # type: ignore[index]
        (
            changed(lambda c: c["requirements"][0].update(result="unmet")),  # type: ignore[index]
            "levels contradict the results of the requirements",
        ),
        (
            changed(lambda c: c["requirements"].append(copy.deepcopy(c["requirements"][0]))),  # type: ignore[attr-defined, index]
            "a requirement is there twice",
        ),
        (
            changed(lambda c: c["topology"]["spec"].update(title="another")),  # type: ignore[index]
            "the digest is another scenario's than spec",
        ),
        (b"#" * (LARGEST_FILE + 1), "a larger one"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "any-report.yaml"
    file.write_bytes(content)
    with pytest.raises(ReportError) as refused:
        read(Report, file)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{file}: wanted ")
    assert "\n" not in str(refused.value)


def test_each_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder-report.yaml").mkdir()
    paths = [tmp_path / name for name in ("missing.yaml", "empty", "folder-report.yaml")]
    with pytest.raises(ReportError) as refused:
        load(paths)
    lines = str(refused.value).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted(map(str, paths))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_that_is_shipped_is_the_models(name: str) -> None:
    assert file_of(name).read_text(encoding="utf-8") == schema(name)
    made = json.loads(schema(name))
    assert made["additionalProperties"] is False
    assert {"apiVersion", "kind"} <= made["properties"].keys()


def test_a_version_that_looks_like_a_number_is_to_be_in_quotes(tmp_path: Path) -> None:
    file = tmp_path / "baseline.yaml"
    text = make(merge([report(istio="1.30")])).as_yaml()
    file.write_text(text.replace("istio: '1.30'", "istio: 1.30"))
    with pytest.raises(ReportError) as refused:
        read(Baseline, file)
    assert str(refused.value).endswith(
        "topologies[0].istio: a text is wanted, in quotes where it may be a number, not '1.3'"
    )


def test_a_baseline_is_read_as_it_is_written(tmp_path: Path) -> None:
    made = make(merge([report()]))
    write(made, tmp_path / "baseline.yaml")
    assert read(Baseline, tmp_path / "baseline.yaml") == made
