"""What is made of reports for people: the page without a browser, and the summary."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import SCENARIOS, meshes
from report_examples import CAUSE, LEVELS, ONE_NETWORK, STEPS, report, reports

from mesh_fixtures import cli
from mesh_fixtures.diagnosis.rules import KINDS
from mesh_fixtures.report import Report, write
from mesh_fixtures.report.html import _marked_up, entries, page
from mesh_fixtures.report.html.drawing import links, tick_seconds, timeline, topology_svg
from mesh_fixtures.report.markdown import summary
from mesh_fixtures.report.model import Retried, StepReport
from mesh_fixtures.scenario import Scenario

VOID = {"input", "meta"}


class Page(HTMLParser):
    """Elements that are open, what is referred to, and the text that is seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refers: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        self.refers += [str(given[each]) for each in ("href", "src") if each in given]
        drawn = [str(given[each]) for each in ("marker-start", "marker-end") if each in given]
        self.refers += [each.removeprefix("url(").removesuffix(")") for each in drawn]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@given(st.lists(reports(), min_size=1, max_size=2))
def test_a_page_is_whole_and_needs_nothing_else(given_: list[Report]) -> None:
    seen = Page(page([*given_, given_[0]]))
    assert seen.open == []
    assert sorted({*seen.ids}) == sorted(seen.ids)
    assert all(each.startswith("#") for each in seen.refers)
    assert {each.removeprefix("#") for each in seen.refers} <= {*seen.ids}
    for each in given_:
        assert each.topology.id in seen.text


def test_a_page_says_what_failed_why_and_what_to_do() -> None:
    bad = report(
        {"TRAFFIC-1": "unmet", "TRUST-1": "inconclusive"},
        causes=(CAUSE,),
        errors=("the lab is still there",),
        interrupted="it was interrupted",
    )
    text = " ".join(Page(page([bad])).text.split())
    for said in (
        "core: failure",
        "cluster1: expected v1, v2, but saw v2 <i>",
        "services are not exposed in cluster1 <b>&",
        "apply multicluster/expose-services.yaml in cluster1",
        "consequences: GATEWAY-1, TRAFFIC-1",
        "no answer",
        "The run is not complete: it was interrupted",
        "the lab is still there",
        "from cluster1: 200 answers",
        "103 (51.5 %), 65 to 135",
        "helloworld-ready",
    ):
        assert said in text


def test_each_cause_leads_to_its_entry_of_the_guide_which_is_on_the_page_once() -> None:
    bad = report({"TRAFFIC-1": "unmet"}, causes=(CAUSE,))
    unknown = CAUSE.model_copy(update={"id": "of-another-project"})
    worse = report({"TRAFFIC-1": "unmet"}, causes=(CAUSE, unknown), scenario=ONE_NETWORK)
    seen = Page(page([bad, worse]))
    assert seen.refers.count("#guide-services-not-exposed") == 2
    assert seen.ids.count("guide-services-not-exposed") == 1
    assert "guide-of-another-project" not in seen.ids
    assert "docs/troubleshooting.md#services-not-exposed" in seen.text
    assert "From the guide" not in Page(page([report()])).text


@pytest.mark.parametrize("cause", [each.id for each in KINDS])
def test_every_cause_has_an_entry_with_its_parts(cause: str) -> None:
    (entry,) = entries([cause, cause])
    assert [title for title, _ in entry.parts] == ["Means", "Shows", "Do"]
    for _, text in entry.parts:
        assert "`" not in text
        assert "](" not in text


def test_entries_are_text() -> None:
    marked = _marked_up("a `b < c` of\n [the guide](page.md#x) <i>")
    assert marked == "a <code>b &lt; c</code> of the guide &lt;i&gt;"


def test_what_a_mesh_says_is_not_markup() -> None:
    bad = report({"TRAFFIC-1": "unmet"}, causes=(CAUSE,), errors=("<script>alert(1)</script>",))
    assert "<script" not in page([bad])
    assert "<b>" not in page([bad])


def test_shares_outside_of_their_band_are_marked() -> None:
    figures: dict[str, float | str] = {
        "a.share.v1": 1.0,
        "a.expected_share.v1": "1/2",
        "a.band.v1": "65 to 135 of 200",
    }
    assert 'class="share outside"' in page([report(figures={"TRAFFIC-2": figures})])
    assert 'class="share outside"' not in page([report()])


@given(meshes())
def test_every_mesh_can_be_drawn(scenario: Scenario) -> None:
    drawn = ElementTree.fromstring(str(topology_svg(scenario, "it")))
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    boxes = [each for each in drawn.iter("rect") if each.get("class") == "cluster"]
    assert len(boxes) == len(scenario.clusters)
    assert len([each for each in drawn.iter("rect") if each.get("class") == "network"]) == len(
        scenario.networks
    )
    places = [
        tuple(float(each.attrib[name]) for name in ("x", "y", "width", "height")) for each in boxes
    ]
    for x, y, w, h in places:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for at, (x, y, w, h) in enumerate(places):
        for x2, y2, w2, h2 in places[at + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    istiods = [each for each in drawn.iter("circle") if each.get("class") == "istiod"]
    assert len(istiods) == len(scenario.primaries)


@given(meshes())
def test_every_remote_secret_and_every_remotes_control_plane_is_drawn(scenario: Scenario) -> None:
    drawn = links(scenario)
    secrets = {
        pair
        for each in drawn
        if each.kind == "remote-secret"
        for pair in ((each.begin, each.end), (each.end, each.begin))[: 1 + each.both]
    }
    assert secrets == {(each.installed_in, each.of) for each in scenario.remote_secrets}
    planes = {(each.begin, each.end) for each in drawn if each.kind == "control-plane"}
    assert planes == {(each.name, each.primary) for each in scenario.remotes}


def test_the_drawing_in_words() -> None:
    drawn = str(topology_svg(SCENARIOS["primary-remote-multi-network"], "it"))
    assert "cluster2 (remote) on network2" in drawn
    assert "proxies in cluster2 are configured by istiod in cluster1" in drawn
    assert "east-west gateway 15012, 15017, 15443" in drawn


def test_timeline() -> None:
    line = timeline(STEPS)
    assert line.seconds == 15.5
    assert [lane.cluster for lane in line.lanes] == ["", "cluster1", "cluster2"]
    assert [bar.step.phase for bar in line.lanes[1].bars] == ["istiod", "helloworld-ready"]
    assert line.lanes[1].bars[1].left == pytest.approx(100 * 12.5 / 15.5)
    assert [tick.label for tick in line.ticks] == [*map(str, range(0, 16, 2))]


@given(st.floats(0.001, 1e5))
def test_an_axis_has_a_readable_number_of_marks(whole: float) -> None:
    step = StepReport(phase="any", began=0, seconds=whole)
    assert 1 <= len(timeline([step]).ticks) <= 9
    assert str(tick_seconds(whole))[0] in "125"


def test_steps_that_take_no_time_are_laid_out() -> None:
    assert timeline([StepReport(phase="any", began=0, seconds=0)]).lanes[0].bars[0].width == 0


def test_retries_are_said_though_all_is_well() -> None:
    again = Retried(where="cluster1", wanted="pods sample", seen="503: no", times=2)
    made = report(retries=(again,))
    assert made.levels["core"].result == "success"
    said = "cluster1, pods sample: asked again 2 times: 503: no"
    assert said in Page(page([made])).text
    assert said in summary([made])


def test_more_time_than_usual_is_said() -> None:
    slow, usual = report(patience=2.5), report()
    assert "2.5 (--mesh-patience)" in Page(page([slow])).text
    assert "deadlines multiplied by 2.5 (--mesh-patience)" in summary([slow])
    assert "deadlines" not in Page(page([usual])).text + summary([usual])


def test_gateways_that_were_installed_otherwise_than_the_mesh_are_said() -> None:
    usual = report()
    way = {"install": "istioctl-gateway-api", "gateways": "gateway-api"}
    made = usual.model_copy(update={"provider": usual.provider.model_copy(update=way)})
    assert made.file_name.endswith("-netns-istioctl-gateway-api-report.yaml")
    assert "east-west gateways" in Page(page([made])).text
    assert "east-west gateways" not in Page(page([usual])).text
    assert "istioctl-gateway-api" in summary([made])


def test_summary_of_success_is_a_table() -> None:
    lines = summary([report(), report(scenario=ONE_NETWORK)]).splitlines()
    assert len(lines) == 6
    assert lines[4] == (
        "| multi-primary-multi-network | netns, istioctl | 1.31.1 | 1.36.3 "
        f"| success ({LEVELS['core']} met) | success ({LEVELS['extended']} met) | 16 s |"
    )


def test_summary_of_failure_says_why_and_what_to_do() -> None:
    bad = report(
        {"TRAFFIC-1": "unmet", "TRUST-1": "inconclusive", "RESILIENCE-1": "not run"},
        causes=(CAUSE,),
        interrupted="it was\ninterrupted",
    )
    text = summary([bad])
    assert f"failure ({LEVELS['core'] - 2} met, 1 unmet, 1 inconclusive)" in text
    assert f"partial ({LEVELS['extended'] - 1} met, 1 not run)" in text
    assert "| ❌ | TRAFFIC-1 unmet | cluster1: expected v1, v2, but saw v2 \\<i\\> |" in text
    assert "**services-not-exposed**: services are not exposed in cluster1 \\<b\\>&" in text
    assert "- it was interrupted" in text


@given(reports())
def test_every_row_of_a_summary_has_its_cells(made: Report) -> None:
    lines = [line for line in summary([made]).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} <= {8, 4}


# the command


def test_reports_are_rendered_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = report()
    write(made, tmp_path / made.file_name)
    summary_file = tmp_path / "summary.md"
    summary_file.write_text("before\n")
    assert cli.main(["report", str(tmp_path), "--html", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").read_text() == page([made])
    assert cli.main(["report", str(tmp_path), "--markdown", str(summary_file)]) == 0
    assert summary_file.read_text() == "before\n" + summary([made])
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == summary([made])


def test_reports_are_where_runs_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report"]) == 2
    assert capsys.readouterr().err.startswith("mesh-report: wanted a readable file; seen: No such")
    write(report(), tmp_path / "mesh-report" / report().file_name)
    assert cli.main(["report", "--markdown"]) == 0
    assert "multi-primary-multi-network" in capsys.readouterr().out


def test_schemas_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--schema", "baseline"]) == 0
    assert '"title": "Baseline"' in capsys.readouterr().out
