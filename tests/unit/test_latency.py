"""Latencies: percentiles of what clients measured, in figures and reports, and their growth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_examples import report
from test_verdicts_traffic import COMPLETE, MULTI
from verdicts import SOURCE, FakeView, checked, mesh

from mesh_fixtures import cli
from mesh_fixtures.probe.traffic import Answer, TrafficSample
from mesh_fixtures.report import Report, write
from mesh_fixtures.report.baseline import make, tolerance_of_latencies
from mesh_fixtures.report.building import distributions
from mesh_fixtures.report.building import latencies as reported
from mesh_fixtures.report.gate import judge
from mesh_fixtures.report.html import page
from mesh_fixtures.report.html.drawing import LatencyRow, latency_plot
from mesh_fixtures.report.merging import merge
from mesh_fixtures.report.model import Figure, Latency
from mesh_fixtures.requirements import traffic_1
from mesh_fixtures.verdict.expectations import Destination
from mesh_fixtures.verdict.latency import latencies, percentile

TODAY = date(2027, 1, 31)

LOCAL = Destination("v1", frozenset({"v1"}), frozenset({"a", "b"}), frozenset({"10.1.0.5:5000"}))
AWAY = Destination(
    "v1+v2 (network2)",
    frozenset({"v1", "v2"}),
    frozenset({"c", "d"}),
    frozenset({"172.18.1.100:15443"}),
    cross_network=True,
)


def answers(*given_: tuple[str, str, float]) -> list[Answer]:
    return [Answer(n, *each) for n, each in enumerate(given_, 1)]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3], 50, 3),
        ([1, 2], 50, 1),
        ([1, 2, 3], 50, 2),
        ([*range(1, 101)], 90, 90),
        ([*range(1, 101)], 99, 99),
        ([*range(1, 51)], 99, 50),
        ([2, 1], 100, 2),
    ],
)
def test_percentiles_by_nearest_rank(values: list[float], percent: int, expected: float) -> None:
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(0, 10), min_size=1), st.integers(1, 100))
def test_so_many_percent_do_not_exceed_a_percentile_and_no_smaller_value_does_for_it(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(each <= found for each in values) >= percent * len(values)
    smaller = [each for each in values if each < found]
    assert 100 * len(smaller) < percent * len(values)


def test_the_same_version_by_two_ways_counts_apart() -> None:
    given_ = answers(("v2", "d", 0.020), ("v1", "a", 0.001), ("v1", "c", 0.010), ("v1", "b", 0.003))
    found = latencies([AWAY, LOCAL], given_)
    assert [(each.path, each.version, each.answers) for each in found] == [
        ("local", "v1", 2),
        ("cross-network", "v1", 1),
        ("cross-network", "v2", 1),
    ]
    assert found[0].milliseconds == {50: 1.0, 90: 3.0, 99: 3.0}


def test_answers_that_came_by_no_known_way_are_left_out() -> None:
    assert latencies([LOCAL], answers(("v9", "unknown", 1.0))) == ()
    assert latencies([], []) == ()


def test_figures_of_the_requests_that_are_sent_anyway() -> None:
    sent = answers(*[("v1", "pod-v1", 0.0012), ("v2", "pod-v2", 0.0045)] * 100)
    sample = TrafficSample(SOURCE, "cluster1", 200, tuple(sent), (), 1.0, cut_short=False)
    outcome = checked(traffic_1, mesh(FakeView(MULTI), COMPLETE, {"cluster1": sample}))
    figures = {name: each for name, each in outcome.figures.items() if ".latency_" in name}
    assert figures == {
        "cluster1.latency_answers.local.v1": 100,
        "cluster1.latency_p50_ms.local.v1": 1.2,
        "cluster1.latency_p90_ms.local.v1": 1.2,
        "cluster1.latency_p99_ms.local.v1": 1.2,
        "cluster1.latency_answers.cross-network.v2": 100,
        "cluster1.latency_p50_ms.cross-network.v2": 4.5,
        "cluster1.latency_p90_ms.cross-network.v2": 4.5,
        "cluster1.latency_p99_ms.cross-network.v2": 4.5,
    }
    (local, away) = reported(outcome.figures)
    assert (local.cluster, local.version, local.path, local.answers) == (
        "cluster1",
        "v1",
        "local",
        100,
    )
    assert (away.p50_ms, away.p90_ms, away.p99_ms) == (4.5, 4.5, 4.5)


def test_names_of_clusters_may_have_dots() -> None:
    figures: dict[str, Figure] = {
        f"prod.eu.latency_{kind}.local.v1": 7 for kind in ("answers", "p50_ms", "p90_ms", "p99_ms")
    }
    assert [each.cluster for each in reported(figures)] == ["prod.eu"]
    shares: dict[str, Figure] = {
        "prod.eu.false_alarm": 1e-6,
        "prod.eu.share.v1": 1.0,
        "prod.eu.expected_share.v1": "1",
        "prod.eu.band.v1": "200 to 200 of 200",
    }
    (found,) = distributions({"TRAFFIC-2": shares, "TRAFFIC-1": {"prod.eu.failures": 3}})
    assert (found.cluster, found.total, found.failures) == ("prod.eu", 200, 3)


def test_the_report_and_the_page_have_them() -> None:
    made = report()
    assert [(each.cluster, each.version, each.path) for each in made.latency] == [
        ("cluster1", "v1", "local"),
        ("cluster1", "v2", "cross-network"),
        ("cluster2", "v2", "local"),
        ("cluster2", "v1", "cross-network"),
    ]
    assert "p99Ms: 1042.0" in made.as_yaml()
    text = page([made])
    said = "half within 3 ms, 90 % within 5.5 ms, 99 % within 1042 ms, of 97 answers"
    assert said in text
    assert "How fast" not in page([report(figures={})])


positive = st.floats(0.001, 60_000)


@given(st.lists(st.lists(positive, min_size=3, max_size=3).map(sorted), min_size=1, max_size=5))
def test_every_latency_is_on_the_axis_in_its_order(given_: list[list[float]]) -> None:
    plot = latency_plot([latency(*each) for each in given_])
    places = [(value, place) for row in plot.rows for value, place in of_row(row)]
    assert all(-1e-6 <= place <= 100 + 1e-6 for _, place in places)
    in_order = [place for _, place in sorted(places)]
    assert in_order == pytest.approx(sorted(in_order))
    assert 1 <= len(plot.ticks) <= 7
    assert len({each.label for each in plot.ticks}) == len(plot.ticks)


def of_row(row: LatencyRow) -> Sequence[tuple[float, float]]:
    each = row.latency
    return [(each.p50_ms, row.p50), (each.p90_ms, row.p90), (each.p99_ms, row.p99)]


def latency(p50: float, p90: float, p99: float) -> Latency:
    return Latency(
        cluster="a", version="v1", path="local", answers=9, p50_ms=p50, p90_ms=p90, p99_ms=p99
    )


# the gate


def slower(factor: float, kind: str = "p") -> Report:
    """The same report with latencies that are so many times as long."""
    made = report()
    changed = tuple(
        each.model_copy(
            update={
                "figures": {
                    name: factor * float(value) if f".latency_{kind}" in name else value
                    for name, value in each.figures.items()
                }
            }
        )
        if each.id == "TRAFFIC-1"
        else each
        for each in made.requirements
    )
    return made.model_copy(update={"requirements": changed})


def test_latencies_are_not_compared_unless_that_is_asked_for() -> None:
    baseline = make(merge([report()]))
    assert ".latency_" not in baseline.as_yaml()
    assert judge(merge([slower(1000)]), baseline, TODAY).passes


@pytest.mark.parametrize(
    ("factor", "kind", "passes"),
    [
        (1, "p", True),
        (0.1, "p", True),
        (1.8, "p", True),  # by less than 5 ms, all of them
        (2.5, "p", False),
        (100, "p99", True),  # chance
        (100, "p50", False),
    ],
)
def test_latencies_may_grow_by_what_is_given(factor: float, kind: str, passes: bool) -> None:
    baseline = make(merge([report()]), (tolerance_of_latencies(0.5),))
    judgement = judge(merge([slower(factor, kind)]), baseline, TODAY)
    assert judgement.passes is passes
    if not passes:
        assert "TRAFFIC-1 cluster1.latency_p" in "".join(row.what for row in judgement.rows)


def test_a_baseline_with_latencies_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = report()
    folder, file = tmp_path / "reports", tmp_path / "baseline.yaml"
    write(made, folder / made.file_name)
    writing = ["gate", str(folder), "--write-baseline", str(file)]
    assert cli.main([*writing, "--latency-tolerance", "1"]) == 0
    assert cli.main(writing) == 0  # keeps it
    assert cli.main([*writing, "--latency-tolerance", "2"]) == 0
    assert file.read_text().count("figures: '*.latency_p[59]0_ms.*'") == 1
    assert "relative: 2.0" in file.read_text()
    comparing = ["gate", str(folder), "--baseline", str(file)]
    assert cli.main(comparing) == 0
    write(slower(3.1), folder / made.file_name)
    capsys.readouterr()
    assert cli.main(comparing) == 1
    printed = capsys.readouterr().out
    assert "TRAFFIC-1 cluster1.latency_p90_ms.cross-network.v2" in printed
    assert "at most 18 is tolerated" in printed


@pytest.mark.parametrize("value", ["-1", "much", "inf", "nan", ""])
def test_tolerances_that_are_none(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["gate", "any", "--write-baseline", "any", f"--latency-tolerance={value}"])
    assert ended.value.code == 2
    assert f"{value!r} is not a number from 0 on" in capsys.readouterr().err


def test_a_tolerance_belongs_to_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gate", "any", "--baseline", "any", "--latency-tolerance=1"]) == 2
    assert "give it when the baseline is made" in capsys.readouterr().err


def test_there_must_be_latencies_to_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = report(figures={})
    write(made, tmp_path / made.file_name)
    file = tmp_path / "baseline.yaml"
    writing = ["gate", str(tmp_path), "--write-baseline", str(file)]
    assert cli.main([*writing, "--latency-tolerance", "1"]) == 2
    assert "wanted reports with latencies" in capsys.readouterr().err
    assert not file.exists()
    assert cli.main(writing) == 0
