"""The gate: reports of several runs put together, and compared with a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from report_examples import FEW, LEVELS, ONE_NETWORK, RESULTS, TWO_NETWORKS, report, reports

from mesh_fixtures import cli
from mesh_fixtures.errors import ReportError
from mesh_fixtures.report import Report, read, write
from mesh_fixtures.report.baseline import (
    TOLERANCES,
    Baseline,
    Expectation,
    KnownFailure,
    Tolerance,
    TopologyBaseline,
    make,
)
from mesh_fixtures.report.gate import Row, judge, require_comparable
from mesh_fixtures.report.merging import merge
from mesh_fixtures.report.model import BEST_FIRST, Result, levels_of

RESTORE = "helloworld.seconds_to_restore"
TODAY = date(2027, 1, 31)


def with_results(made: Report, results: dict[str, Result]) -> Report:
    """The same report with other results."""
    changed = tuple(
        each.model_copy(update={"result": results.get(each.id, each.result)})
        for each in made.requirements
    )
    return made.model_copy(update={"requirements": changed, "levels": levels_of(changed)})


def passes(baseline: Baseline, *given: Report) -> bool:
    return judge(merge(given), baseline, TODAY).passes


def rows(baseline: Baseline, *given: Report) -> list[Row]:
    return list(judge(merge(given), baseline, TODAY).rows)


GOOD = report(figures={"RESILIENCE-1": {"cluster1.failures": 2, RESTORE: 10.0, "a.rate": 5.0}})
BASELINE = make(merge([GOOD]))


def summed(given_: Sequence[Report]) -> list[object]:
    """All that is known of reports once they are put together."""
    return [
        (
            each.key,
            each.digests,
            each.istio,
            each.notes,
            {
                name: (each.result(name), each.reasons(name), each.figures(name))
                for name in each.requirements
            },
        )
        for each in merge(given_)
    ]


@given(st.lists(reports(), max_size=4).flatmap(lambda x: st.tuples(st.just(x), st.permutations(x))))
def test_reports_are_put_together_in_whatever_order_and_however_often(
    orders: tuple[list[Report], Sequence[Report]],
) -> None:
    one, other = orders
    assert summed(one) == summed(other) == summed([*one, *other])


@given(st.lists(reports(), min_size=1, max_size=3), st.data())
def test_whatever_gets_worse_a_gate_that_is_shut_stays_shut(
    given_: list[Report], data: st.DataObject
) -> None:
    accepted = data.draw(reports().filter(lambda each: each.versions.istio != ""))
    try:
        baseline = make(merge([accepted]))
    except ReportError:
        return
    before = passes(baseline, *given_)
    at = data.draw(st.integers(0, len(given_) - 1))
    name = data.draw(st.sampled_from(FEW))
    (old,) = (each.result for each in given_[at].requirements if each.id == name)
    worse = data.draw(st.sampled_from(BEST_FIRST[BEST_FIRST.index(old) :]))
    changed = [*given_]
    changed[at] = with_results(given_[at], {name: worse})
    assert before or not passes(baseline, *changed)


@given(st.floats(0, 1000), st.floats(0, 1000), st.sampled_from(["lower", "higher"]))
def test_a_worse_figure_never_opens_the_gate(one: float, other: float, better: str) -> None:
    tolerance = Tolerance.model_validate({"figures": "*", "better": better, "absolute": 3})
    best, worst = sorted((one, other), reverse=better == "higher")
    assert tolerance.tolerates(best, 10) or not tolerance.tolerates(worst, 10)


@given(reports())
def test_reports_are_as_good_as_the_baseline_made_of_them(made: Report) -> None:
    try:
        baseline = make(merge([made]))
    except ReportError:
        return
    uncertain = any(each.result == "inconclusive" for each in made.requirements)
    assert passes(baseline, made) is not uncertain


def test_as_good_as_the_baseline() -> None:
    judgement = judge(merge([GOOD]), BASELINE, TODAY)
    assert judgement.rows == ()
    assert judgement.required == LEVELS.total()


@pytest.mark.parametrize("result", [each for each in RESULTS if each != "met"])
def test_what_is_required_has_to_be_met(result: Result) -> None:
    bad = with_results(GOOD, {"TRUST-1": result})
    (row,) = rows(BASELINE, bad)
    assert (row.what, row.accepted, row.seen, row.change) == ("TRUST-1", "met", result, "worse")


def test_a_requirement_that_is_not_in_the_report_at_all() -> None:
    fewer = GOOD.requirements[1:]
    (row,) = rows(
        BASELINE, GOOD.model_copy(update={"requirements": fewer, "levels": levels_of(fewer)})
    )
    assert (row.what, row.seen, row.why) == ("TRUST-1", "not run", "not in the report")


def test_a_topology_without_a_report() -> None:
    (row, new) = rows(BASELINE, report(scenario=ONE_NETWORK))
    assert (row.topology, row.seen, row.change) == (
        "multi-primary-multi-network (netns, istioctl)",
        "missing",
        "worse",
    )
    assert (new.topology, new.change) == ("multi-primary (netns, istioctl)", "better")
    assert not passes(BASELINE)


def test_a_report_of_another_provider_is_not_that_of_this_one() -> None:
    other = report(provider="kind")
    assert not passes(BASELINE, other)
    whichever = BASELINE.topologies[0].model_copy(update={"provider": "", "install": ""})
    loose = Baseline(topologies=(whichever,), tolerances=())
    assert passes(loose, other)
    assert passes(loose, other, GOOD)
    assert not passes(loose, other, with_results(GOOD, {"TRUST-1": "unmet"}))


def test_shards_are_put_together_and_of_conflicting_results_the_worse_counts() -> None:
    first = with_results(GOOD, {"TRUST-1": "not run", "TRUST-2": "met"})
    second = with_results(GOOD, {"TRUST-1": "met", "TRUST-2": "not run"})
    assert not passes(BASELINE, first)
    assert passes(BASELINE, first, second)
    assert not passes(BASELINE, GOOD, with_results(GOOD, {"TRUST-1": "unmet"}))
    assert not passes(BASELINE, GOOD, with_results(GOOD, {"TRUST-1": "inconclusive"}))


def test_known_failures_may_go_on_and_may_end() -> None:
    known = make(merge([with_results(GOOD, {"TRUST-1": "unmet"})]))
    assert passes(known, with_results(GOOD, {"TRUST-1": "unmet"}))
    (row,) = rows(known, GOOD)
    assert (row.what, row.accepted, row.seen, row.change) == ("TRUST-1", "unmet", "met", "better")


def knowing(
    baseline: Baseline = BASELINE, *, days: int = 0, requirement: str = "TRUST-1", **more: object
) -> Baseline:
    """A baseline with a known failure that expires so many days after today."""
    known = KnownFailure.model_validate(
        {
            "requirement": requirement,
            "reason": "istio/istio#1",
            "expires": TODAY + timedelta(days=days),
            **more,
        }
    )
    return baseline.model_copy(update={"known_failures": (*baseline.known_failures, known)})


@pytest.mark.parametrize("result", [each for each in RESULTS if each != "met"])
def test_a_known_failure_may_go_on_until_it_expires(result: Result) -> None:
    bad = with_results(GOOD, {"TRUST-1": result})
    assert passes(knowing(), bad)
    assert not passes(knowing(days=-1), bad)
    assert passes(knowing(knowing(days=-1), days=1), bad)


def test_what_is_known_is_said() -> None:
    bad = with_results(GOOD, {"TRUST-1": "unmet"})
    (row,) = rows(knowing(), bad)
    assert (row.accepted, row.seen, row.change) == ("met", "unmet", "same")
    assert row.why.startswith("known failure until 2027-01-31: istio/istio#1")
    (row,) = rows(knowing(days=-1), bad)
    assert (row.accepted, row.seen, row.change) == ("met", "unmet", "worse")
    assert row.why.startswith("its known failure expired on 2027-01-30: istio/istio#1")


@pytest.mark.parametrize("days", [0, -1])
def test_a_known_failure_that_is_over_is_said_and_fails_nothing(days: int) -> None:
    (row,) = rows(knowing(days=days), GOOD)
    assert (row.what, row.seen, row.change) == ("TRUST-1", "met", "better")
    assert "met, although it is a known failure (istio/istio#1)" in row.why


def test_an_expired_one_is_required_even_where_the_baseline_was_made_of_its_failure() -> None:
    bad = with_results(GOOD, {"TRUST-1": "unmet"})
    old = make(merge([bad]))
    assert passes(knowing(old), bad)
    assert not passes(knowing(old, days=-1), bad)
    assert judge(merge([bad]), knowing(), TODAY).required == LEVELS.total() - 1


def test_a_known_failure_is_of_some_topologies() -> None:
    bad = with_results(GOOD, {"TRUST-1": "unmet"})
    assert passes(knowing(topologies=["multi-primary-*"], provider="netns"), bad)
    assert not passes(knowing(topologies=["primary-*"]), bad)
    assert not passes(knowing(provider="kind"), bad)
    assert not passes(knowing(install="helm"), bad)
    new = with_results(report(scenario=ONE_NETWORK), {"TRUST-1": "unmet"})
    assert passes(knowing(), GOOD, new)  # which the baseline has nothing else of


def test_a_known_failure_of_nothing_is_said() -> None:
    (row,) = rows(knowing(requirement="TRUTS-1"), GOOD)
    assert (row.what, row.change) == ("TRUTS-1", "same")
    assert "known failure of nothing" in row.why


@given(reports(), st.data())
def test_with_known_failures_too_a_gate_that_is_shut_stays_shut(
    accepted: Report, data: st.DataObject
) -> None:
    try:
        made = make(merge([accepted]))
    except ReportError:
        return
    name = data.draw(st.sampled_from(FEW))
    baseline = knowing(made, days=data.draw(st.sampled_from([-1, 0])), requirement=name)
    given_ = data.draw(reports())
    before = passes(baseline, given_)
    (old,) = (each.result for each in given_.requirements if each.id == name)
    worse = data.draw(st.sampled_from(BEST_FIRST[BEST_FIRST.index(old) :]))
    assert before or not passes(baseline, with_results(given_, {name: worse}))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"reason": ""}, "reason: String should have at least 1 character"),
        ({"expires": "soon"}, "expires: Input should be a valid date"),
        ({"expires": None}, "expires: missing"),
        ({"until": "2027-01-31"}, "until: unknown key"),
    ],
)
def test_bad_known_failures(
    folder: Path, capsys: pytest.CaptureFixture[str], bad: dict[str, str | None], message: str
) -> None:
    good = {"requirement": "TRUST-1", "reason": "because", "expires": "2027-01-31"}
    entry: dict[str, str | None] = {**good, **bad}
    content = yaml.safe_load(BASELINE.as_yaml())
    content["knownFailures"] = [{k: v for k, v in entry.items() if v is not None}]
    (folder / "baseline.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert gate(folder) == 2
    assert message in capsys.readouterr().err


def test_the_gate_says_that_a_known_failure_has_expired(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = with_results(GOOD, {"TRUST-1": "unmet"})
    write(bad, folder / "reports" / GOOD.file_name)
    for expires, status in ((date(2000, 1, 1), 1), (date(9999, 1, 1), 0)):
        known = KnownFailure(requirement="TRUST-1", reason="because", expires=expires)
        write(BASELINE.model_copy(update={"known_failures": (known,)}), folder / "baseline.yaml")
        assert gate(folder) == status
        said = capsys.readouterr().out
        assert ("its known failure expired on 2000-01-01: because" in said) is bool(status)
        assert ("known failure until 9999-01-01: because" in said) is not bool(status)


def test_what_the_baseline_does_not_know_need_not_be_verified_but_must_not_fail() -> None:
    (accepted,) = BASELINE.topologies
    without = {k: v for k, v in accepted.requirements.items() if k != "TRUST-1"}
    small = Baseline(topologies=(accepted.model_copy(update={"requirements": without}),))
    assert passes(small, GOOD)
    assert passes(small, with_results(GOOD, {"TRUST-1": "not run"}))
    assert not passes(small, with_results(GOOD, {"TRUST-1": "unmet"}))
    assert not passes(small, with_results(GOOD, {"TRUST-1": "inconclusive"}))
    assert not passes(
        BASELINE, GOOD, with_results(report(scenario=ONE_NETWORK), {"TRUST-1": "unmet"})
    )


@pytest.mark.parametrize(
    ("figures", "seen"),
    [
        ({"cluster1.failures": 2, RESTORE: 10.0}, None),
        ({"cluster1.failures": 7, RESTORE: 20.0}, None),
        ({"cluster1.failures": 8, RESTORE: 20.0}, "8"),
        ({"cluster1.failures": 0, RESTORE: 20.1}, "20.1"),
        ({"cluster1.failures": 0}, "missing"),
        ({"cluster1.failures": "many", RESTORE: 1}, "many"),
    ],
)
def test_figures_may_be_worse_by_their_tolerance(
    figures: dict[str, float | str], seen: str | None
) -> None:
    found = rows(BASELINE, report(figures={"RESILIENCE-1": figures}))
    assert [row.seen for row in found if row.change == "worse"] == ([seen] if seen else [])


def test_of_several_runs_the_worst_figure_counts() -> None:
    slow = report(figures={"RESILIENCE-1": {"cluster1.failures": 2, RESTORE: 60.0}})
    assert not passes(BASELINE, GOOD, slow)
    assert passes(make(merge([GOOD, slow])), slow)


def test_a_baseline_holds_only_figures_that_have_a_tolerance() -> None:
    (accepted,) = BASELINE.topologies
    expected = {"cluster1.failures": 2, RESTORE: 10.0}
    assert accepted.requirements["RESILIENCE-1"].figures == expected
    assert "a.rate" not in str(BASELINE)


def test_more_may_be_better() -> None:
    rate = Tolerance(figures="*.rate", better="higher", relative=0.1)
    baseline = make(merge([GOOD]), (rate,))
    assert passes(baseline, report(figures={"RESILIENCE-1": {"a.rate": 4.5}}))
    assert not passes(baseline, report(figures={"RESILIENCE-1": {"a.rate": 4.4}}))


def test_figures_are_only_compared_where_the_requirement_is_met() -> None:
    with pytest.raises(ValueError, match="figures are only compared where it is met"):
        Expectation(result="unmet", figures={"a": 1})


def test_another_scenario_or_version_is_refused_unless_allowed() -> None:
    other = report(istio="1.32.0")
    with pytest.raises(ReportError, match=r"version of Istio, 1\.31\.1; seen: 1\.32\.0"):
        require_comparable(merge([other]), BASELINE)
    require_comparable(merge([other]), BASELINE, version_change=True)
    changed = TWO_NETWORKS.model_copy(update={"title": "changed"})
    again = GOOD.model_copy(update={"topology": report(scenario=changed).topology})
    with pytest.raises(ReportError, match="--allow-scenario-change"):
        require_comparable(merge([again, other]), BASELINE, version_change=True)
    require_comparable(merge([again]), BASELINE, scenario_change=True)
    assert [row.change for row in rows(BASELINE, again)] == ["same"]


def test_a_version_that_is_not_known_is_another_one_where_anything_was_verified() -> None:
    with pytest.raises(ReportError, match="seen: unknown"):
        require_comparable(merge([report(istio="")]), BASELINE)
    nothing = with_results(
        report(istio=""), {each.id: "inconclusive" for each in GOOD.requirements}
    )
    require_comparable(merge([nothing]), BASELINE)
    assert not passes(BASELINE, nothing)


def test_a_baseline_needs_reports_of_one_scenario_and_version() -> None:
    for others in ([GOOD, report(istio="2")], [report(istio="")]):
        with pytest.raises(ReportError, match="version of Istio"):
            make(merge(others))
    with pytest.raises(ReportError, match="a requirement that was verified"):
        make(merge([with_results(GOOD, {each.id: "not run" for each in GOOD.requirements})]))


def test_reports_of_other_providers_are_not_put_together() -> None:
    assert [len(each.reports) for each in merge([GOOD, report(provider="kind")])] == [1, 1]


# the command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(GOOD, tmp_path / "reports" / GOOD.file_name)
    write(BASELINE, tmp_path / "baseline.yaml")
    return tmp_path


def gate(folder: Path, *more: str) -> int:
    return cli.main(
        ["gate", str(folder / "reports"), "--baseline", str(folder / "baseline.yaml"), *more]
    )


def test_gate_that_is_open(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(folder) == 0
    said = f"gate: pass: {LEVELS.total()} required, 0 worse, 0 better\n"
    assert capsys.readouterr().out == said


def test_gate_that_is_shut_says_what_changed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = report({"TRAFFIC-1": "unmet"}, interrupted="it was stopped")
    write(bad, folder / "reports" / "second" / GOOD.file_name)
    assert gate(folder) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["topology", "what", "baseline", "now", "change", "why"]
    assert ["TRAFFIC-1", "met", "unmet", "worse"] in [line[3:7] for line in lines]
    assert lines[-1][:2] == ["gate:", "FAIL:"]


@pytest.mark.parametrize("name", ["baseline.yaml", f"reports/{GOOD.file_name}"])
@pytest.mark.parametrize("content", [None, b"\x00\xff", b"kind: Pod", b"a: b: c"])
def test_bad_input(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    file = folder / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert gate(folder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(str(file if content or name == "baseline.yaml" else file.parent))


def test_another_version_is_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(report(istio="1.32.0", figures={}), folder / "reports" / GOOD.file_name)
    assert gate(folder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--allow-version-change" in line
    assert gate(folder, "--allow-version-change") == 1  # figures are missing
    assert "as allowed" in capsys.readouterr().out


def test_a_baseline_is_written_and_keeps_its_tolerances(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "baseline.yaml"
    reports_ = str(folder / "reports")
    write(with_results(GOOD, {"TRUST-1": "unmet"}), folder / "reports" / GOOD.file_name)
    assert cli.main(["gate", reports_, "--write-baseline", str(folder / "new.yaml")]) == 0
    assert "TRUST-1 is not required: unmet" in capsys.readouterr().err
    assert read(Baseline, folder / "new.yaml").tolerances == TOLERANCES
    own = (Tolerance(figures="*.rate", better="higher"),)
    known = KnownFailure(requirement="TRUST-1", reason="because", expires=TODAY)
    write(BASELINE.model_copy(update={"tolerances": own, "known_failures": (known,)}), file)
    assert cli.main(["gate", reports_, "--write-baseline", str(file)]) == 0
    assert read(Baseline, file).tolerances == own
    assert read(Baseline, file).known_failures == (known,)


def test_one_of_both_is_to_be_done(folder: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["gate", str(folder / "reports")])
    assert ended.value.code == 2


def test_a_topology_is_in_a_baseline_once() -> None:
    one: TopologyBaseline = BASELINE.topologies[0]
    with pytest.raises(ValueError, match="twice"):
        Baseline(topologies=(one, one))
