"""What runs write: reports by a provider that makes nothing, with and without pytest-xdist."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest
from plugin_stub import PATIENCE, QUICK, Behaviour, conftest, recorded, wait_until

from mesh_fixtures.report import Report, metrics, read, write
from mesh_fixtures.report.baseline import Baseline, Expectation, KnownFailure, TopologyBaseline
from mesh_fixtures.report.model import RequirementReport
from mesh_fixtures.requirements import by_id

SCENARIO = """\
title: {title}
mesh: mesh1
networks: [{{name: network1}}]
clusters:
  - {{name: cluster1, network: network1, role: primary}}
  - {{name: cluster2, network: network1, role: primary}}
"""

TESTS = """\
import pytest
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Source
from mesh_fixtures.verdict.findings import Finding, Unmet

@pytest.mark.requirement("TRUST-1")
def test_trust(mesh_installed):
    pass

@pytest.mark.requirement("CONTROL-1")
def test_control(mesh_installed, mesh_scenario, record_property):
    record_property("cluster1.istiods", 1)
    if mesh_scenario.id == "two":
        source = Source("cluster1", "pods", "kubectl get pods")
        raise Unmet((Finding("cluster1", "one istiod", "two", source),))

@pytest.mark.requirement("DISCOVERY-1")
def test_discovery(mesh_installed, mesh_scenario):
    if mesh_scenario.id == "two":
        raise ProbeError(wanted="an answer", seen="none", where="cluster1")

@pytest.mark.requirement("GATEWAY-1")
def test_gateway(mesh_installed):
    pass

@pytest.mark.requirement("RESILIENCE-1")
def test_resilience(mesh_installed):
    pass

def test_plain():
    pass
"""

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs pytest on tests with two scenarios, `one` and `two`."""
    for name in (
        "PROVIDER",
        "TOPOLOGY",
        "SCENARIOS",
        "KEEP",
        "REQUESTS",
        "REPORT",
        "DISRUPTIVE",
        "METRICS",
        "OTLP",
    ):
        monkeypatch.delenv(f"MESH_{name}", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    folder = pytester.mkdir("scenarios")
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SCENARIO.format(title=name), encoding="utf-8")

    def run(
        *arguments: str,
        behaviour: Behaviour | None = None,
        tests: str = TESTS,
        more: str = "",
        apart: bool = False,
    ) -> pytest.RunResult:
        pytester.makepyfile(test_mesh=tests)
        source = conftest(pytester.path / "log", behaviour or Behaviour())
        pytester.makeconftest(source + more)
        begin = pytester.runpytest_subprocess if apart else pytester.runpytest
        return begin(*QUICK, *arguments)

    return run


def report_of(pytester: pytest.Pytester, topology: str, folder: str = "mesh-report") -> Report:
    return read(Report, pytester.path / folder / f"{topology}-stub-istioctl-report.yaml")


def requirement(report: Report, name: str) -> RequirementReport:
    return next(each for each in report.requirements if each.id == name)


def results(report: Report) -> dict[str, str]:
    """By requirement, of those that the tests are about."""
    about = ("TRUST-1", "CONTROL-1", "DISCOVERY-1", "GATEWAY-1", "RESILIENCE-1", "TRAFFIC-1")
    return {each.id: each.result for each in report.requirements if each.id in about}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_topology_has_a_report(start: Start, pytester: pytest.Pytester, workers: str) -> None:
    result = start("-n", workers)
    good, bad = report_of(pytester, "one"), report_of(pytester, "two")
    assert results(good) == {
        "TRUST-1": "met",
        "CONTROL-1": "met",
        "DISCOVERY-1": "met",
        "GATEWAY-1": "not applicable",
        "RESILIENCE-1": "not run",
        "TRAFFIC-1": "not run",
    }
    assert results(bad) == {**results(good), "CONTROL-1": "unmet", "DISCOVERY-1": "inconclusive"}
    assert {name: each.result for name, each in bad.levels.items()} == {
        "core": "failure",
        "extended": "partial",
    }
    control = requirement(bad, "CONTROL-1")
    (found,) = control.findings
    assert (str(found), found.source) == (
        "cluster1: expected one istiod, but saw two",
        "kubectl get pods",
    )
    assert control.figures == {"cluster1.istiods": 1}
    assert control.title == by_id("CONTROL-1").title
    assert "wanted an answer" in requirement(bad, "DISCOVERY-1").reason
    assert requirement(good, "RESILIENCE-1").reason.startswith("disrupts the mesh")
    assert requirement(good, "TRAFFIC-1").reason == "not selected"
    assert good.run.interrupted == bad.run.interrupted == ""
    assert good.run.ended > good.run.began
    assert not good.run.disruptive
    assert (good.provider.name, good.provider.install) == ("stub", "istioctl")
    assert (good.versions.istio, good.versions.images) == ("1.31.0", "stub")
    assert good.topology.scenario.title == "one"
    assert [(step.phase, step.cluster) for step in good.steps] == [("istiod", "cluster1")]
    page = pytester.path / "mesh-report" / "index.html"
    assert "cluster1: expected one istiod, but saw two" in page.read_text(encoding="utf-8")
    place = pytester.path / "mesh-report" / good.file_name
    result.stdout.fnmatch_lines(
        ["*= reports =*", f"one: core partial, extended partial: {place}", f"page: {page}"]
    )


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_was_asked_again_is_told(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    tests = """\
import pytest
from mesh_fixtures import retries
from mesh_fixtures.retries import Retry

@pytest.mark.requirement("TRUST-1")
def test_trust(mesh_installed, mesh_scenario):
    for _ in range(2 if mesh_scenario.id == "two" else 0):
        retries.tell(Retry("cluster1", "pods sample", "503: no"))
"""
    result = start("-n", workers, tests=tests)
    assert report_of(pytester, "one").run.retries == ()
    (retry,) = report_of(pytester, "two").run.retries
    said = "cluster1, pods sample: asked again 2 times: 503: no"
    assert str(retry) == said
    result.stdout.fnmatch_lines([f"two: {said}"])


def baseline(pytester: pytest.Pytester, *known: tuple[str, str]) -> str:
    """A flag that names a baseline with known failures: requirements, and when they expire."""
    accepted = TopologyBaseline(
        topology="one",
        scenario="0" * 64,
        istio="1",
        requirements={"TRUST-1": Expectation(result="met")},
    )
    failures = tuple(
        KnownFailure.model_validate({"requirement": each, "reason": "why", "expires": expires})
        for each, expires in known
    )
    file = pytester.path / "baseline.yaml"
    write(Baseline(topologies=(accepted,), known_failures=failures), file)
    return f"--mesh-baseline={file}"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_known_failures_do_not_fail_a_run(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    known = (("CONTROL-1", "9999-01-01"), ("DISCOVERY-1", "9999-01-01"))
    tests = TESTS.replace("raise ProbeError", "dict")
    result = start("-ra", "-n", workers, "-k", "two", baseline(pytester, *known), tests=tests)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, skipped=2, xfailed=1, xpassed=1)
    result.stdout.fnmatch_lines(
        [
            "known failures: CONTROL-1, DISCOVERY-1",
            "*= known failures =*",
            "two CONTROL-1: known failure until 9999-01-01: why",
            "two DISCOVERY-1: met, although it is a known failure (why): remove that",
            "XFAIL *control* - known failure until 9999-01-01: why*",
            "XPASS *discovery* - met, although it is a known failure (why)*",
        ]
    )
    found = report_of(pytester, "two")
    assert results(found)["CONTROL-1"] == "unmet"
    assert results(found)["DISCOVERY-1"] == "met"
    assert found.levels["core"].result == "failure"
    control = requirement(found, "CONTROL-1")
    assert control.findings
    assert control.known is not None
    assert (control.known.reason, control.known.expired) == ("why", False)
    page = (pytester.path / "mesh-report" / "index.html").read_text(encoding="utf-8")
    assert "known failure until 9999-01-01: why" in page
    assert "met, although it is a known failure (why)" in page
    summary = pytester.run("mesh-conformance", "report").stdout.str()
    assert "known failure until 9999-01-01: why" in summary


def test_an_expired_known_failure_fails(start: Start, pytester: pytest.Pytester) -> None:
    result = start("-k", "two and control", baseline(pytester, ("CONTROL-1", "2000-01-01")))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = "its known failure expired on 2000-01-01: why"
    result.stdout.fnmatch_lines(
        [f"CONTROL-1: {said}", "*- known failure -*", said, "*= known failures =*", f"two * {said}"]
    )
    control = requirement(report_of(pytester, "two"), "CONTROL-1")
    assert control.known is not None
    assert control.known.expired


def test_that_the_mesh_cannot_be_judged_is_no_known_failure(
    start: Start, pytester: pytest.Pytester
) -> None:
    known = baseline(pytester, ("DISCOVERY-1", "9999-01-01"), ("TRUST-1", "9999-01-01"))
    result = start("-k", "two and discovery", known)
    result.assert_outcomes(errors=1)
    result = start("-k", "one and trust", known, behaviour=Behaviour(install_fails="one"))
    result.assert_outcomes(errors=1)
    result = start("-k", "two and control", known.replace("baseline.yaml", "nowhere.yaml"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --mesh-baseline: *nowhere.yaml: wanted a readable file*"])


@pytest.mark.parametrize(
    ("arguments", "verified"),
    [
        (("--mesh-include=TRUST-1",), {"TRUST-1"}),
        (("--mesh-include=trust-1", "--mesh-include=DISCOVERY"), {"TRUST-1", "DISCOVERY-1"}),
        (("--mesh-include=*-1", "--mesh-exclude=extended", "--mesh-exclude=CONTROL-*"),
         {"TRUST-1", "DISCOVERY-1", "GATEWAY-1"}),
        (("--mesh-include=core", "--mesh-exclude=Configure Trust"),
         {"CONTROL-1", "DISCOVERY-1", "GATEWAY-1"}),
        (("--mesh-include=before you begin",), {"TRUST-1"}),
        (("--mesh-level=extended", "--mesh-include=TRUST"), set()),
    ],
)  # fmt: skip
def test_requirements_are_included_and_excluded(
    start: Start, arguments: tuple[str, ...], verified: set[str]
) -> None:
    families = {"TRUST-1", "CONTROL-1", "DISCOVERY-1", "GATEWAY-1", "RESILIENCE-1"}
    out = start(*arguments, "--mesh-topology=one", "--collect-only", "-q").stdout.str()
    found = {each for each in families if f"test_{each[:-2].lower()}" in out}
    assert found == verified


@pytest.mark.parametrize("flag", ["--mesh-include", "--mesh-exclude"])
def test_what_selects_nothing_is_refused(start: Start, flag: str) -> None:
    result = start(f"{flag}=TRAFIC-1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *'TRAFIC-1' selects no requirement; the nearest is 'TRAFFIC-1'"]
    )


def test_what_is_not_selected_is_not_run(start: Start, pytester: pytest.Pytester) -> None:
    start("-k", "trust", "--mesh-topology", "one", "--mesh-report", "elsewhere")
    found = report_of(pytester, "one", "elsewhere")
    assert results(found)["TRUST-1"] == "met"
    assert requirement(found, "CONTROL-1").reason == "not selected"
    assert found.run.interrupted == ""
    assert not (pytester.path / "elsewhere" / "two-stub-istioctl-report.yaml").exists()


def test_disruptive_requirements_are_run_on_request(
    start: Start, pytester: pytest.Pytester
) -> None:
    start("--mesh-topology", "one", "--mesh-disruptive")
    found = report_of(pytester, "one")
    assert results(found)["RESILIENCE-1"] == "met"
    assert found.run.disruptive


@pytest.mark.parametrize("arguments", [(), ("--mesh-apply", "recorded", "--mesh-overlap")])
def test_reports_say_how_it_was_installed(
    start: Start, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    start("--mesh-topology", "one", *arguments)
    found = report_of(pytester, "one")
    assert (found.run.recorded, found.run.overlap) == (bool(arguments), bool(arguments))
    page = (pytester.path / "mesh-report" / "index.html").read_text(encoding="utf-8")
    assert ("istioctl, as recorded" in page) is bool(arguments)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_nothing_is_known_where_the_installation_fails(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    start("-n", workers, behaviour=Behaviour(install_fails="one"))
    found = report_of(pytester, "one")
    assert {results(found)[name] for name in ("TRUST-1", "CONTROL-1")} == {"inconclusive"}
    assert "wanted an installed mesh" in requirement(found, "TRUST-1").reason
    assert found.levels["core"].result == "partial"
    assert found.levels["core"].statistics.inconclusive == 3
    assert (found.steps[0].phase, found.steps[0].outcome) == ("istiod", "failed")
    assert results(report_of(pytester, "two"))["TRUST-1"] == "met"


def test_nothing_is_known_where_clusters_cannot_be_made(
    start: Start, pytester: pytest.Pytester
) -> None:
    start("--mesh-topology=one", behaviour=Behaviour(open_fails="one"))
    found = report_of(pytester, "one")
    assert results(found)["TRUST-1"] == "inconclusive"
    assert found.versions.istio == ""


OWN = """
from mesh_fixtures.requirements import Outcome, Requirement

def pytest_mesh_requirements(config):
    judge = lambda mesh: Outcome.judged([])
    return [Requirement("LATENCY-1", "extended", "answers are quick", judge)]
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_requirements_of_other_projects_are_reported(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    tests = """\
import pytest

@pytest.mark.requirement("LATENCY-1")
def test_latency(mesh_installed, record_property):
    record_property("cluster1.slowest", float("inf"))
"""
    start("-n", workers, "--mesh-topology=one", tests=tests, more=OWN)
    found = requirement(report_of(pytester, "one"), "LATENCY-1")
    assert (found.level, found.title, found.result) == ("extended", "answers are quick", "met")
    assert found.figures == {"cluster1.slowest": "inf"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_requirements_of_other_projects_that_do_not_apply_are_reported_as_such(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    tests = """\
import pytest

@pytest.mark.requirement("LATENCY-1")
def test_latency(mesh_installed):
    pass

@pytest.mark.requirement("TRUST-1")
def test_trust(mesh_installed):
    pass
"""
    own = OWN.replace('quick", judge)', 'quick", judge, features=("multi-network",))')
    assert own != OWN
    start("-n", workers, "--mesh-topology=one", tests=tests, more=own)
    found = requirement(report_of(pytester, "one"), "LATENCY-1")
    assert (found.result, found.title) == ("not applicable", "answers are quick")


EARLY = """
from mesh_fixtures.requirements import Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding

def pytest_mesh_requirements(config):
    early = Outcome.judged([Finding("cluster1", "one", "two")][:{findings}])
    judge = lambda mesh: Outcome.judged([])
    return [
        Requirement(
            "LATENCY-1", "core", "quick", judge, needs="sample", judge_early=lambda mesh: early
        )
    ]
"""


@pytest.mark.parametrize(("findings", "result"), [(1, "unmet"), (0, "met")])
def test_what_fails_anyway_does_not_wait_for_what_it_needs(
    start: Start, pytester: pytest.Pytester, findings: int, result: str
) -> None:
    tests = """\
import pytest

@pytest.mark.requirement("LATENCY-1")
def test_latency(mesh_verify):
    mesh_verify()
"""
    start("--mesh-topology=one", tests=tests, more=EARLY.format(findings=findings))
    assert requirement(report_of(pytester, "one"), "LATENCY-1").result == result
    assert ("sample one" in recorded(pytester.path / "log")) is (result == "met")


AHEAD = """
import threading
from mesh_fixtures.requirements import Outcome, Requirement

begun = threading.Event()

def ahead(mesh):
    begun.set()
    return "seen"

def first(mesh):
    assert begun.wait(20), "the other one's observation was not begun"
    return Outcome.judged([])

def second(mesh):
    return Outcome.judged([], {"saw": mesh.once(ahead)})

def pytest_mesh_requirements(config):
    return [
        Requirement("LATENCY-1", "core", "first", first, needs="sample"),
        Requirement("LATENCY-2", "core", "second", second, needs="sample", ahead=ahead),
    ]
"""


def test_what_mostly_waits_is_begun_while_others_are_checked(
    start: Start, pytester: pytest.Pytester
) -> None:
    tests = """\
import pytest

@pytest.mark.requirement("LATENCY-1")
def test_first(mesh_verify):
    mesh_verify()

@pytest.mark.requirement("LATENCY-2")
def test_second(mesh_verify):
    mesh_verify()
"""
    start("--mesh-topology=one", tests=tests, more=AHEAD)
    report = report_of(pytester, "one")
    assert requirement(report, "LATENCY-1").result == "met"
    assert requirement(report, "LATENCY-2").figures == {"saw": "seen"}


STOPPING = """
def pytest_runtest_logreport(report):
    if report.when == "teardown" and "test_trust" in report.nodeid:
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_interrupted_run_reports_what_it_has(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    start("-n", workers, "--mesh-topology=one", more=STOPPING, apart=True)
    found = report_of(pytester, "one")
    assert results(found)["TRUST-1"] == "met"
    assert requirement(found, "CONTROL-1").reason == "the run ended before it"
    assert found.run.interrupted == "it was interrupted before 4 of 5 tests of requirements"
    assert found.levels["core"].result == "partial"


def test_a_run_that_stops_at_the_first_failure_says_so(
    start: Start, pytester: pytest.Pytester
) -> None:
    start("-x", "--mesh-topology=two")
    found = report_of(pytester, "two")
    assert results(found)["CONTROL-1"] == "unmet"
    assert results(found)["DISCOVERY-1"] == "not run"
    assert found.run.interrupted == "it was stopped before 3 of 5 tests of requirements"


def test_a_worker_that_dies_leaves_its_requirement_inconclusive(
    start: Start, pytester: pytest.Pytester
) -> None:
    dying = TESTS.replace(
        "def test_trust(mesh_installed):\n    pass", "def test_trust(mesh_installed):\n    die()"
    )
    start(
        *("-n", "1", "--mesh-topology=one", "--max-worker-restart=0"),
        tests=f"import os, signal\ndef die(): os.kill(os.getpid(), signal.SIGKILL)\n{dying}",
    )
    found = report_of(pytester, "one")
    assert results(found)["TRUST-1"] == "inconclusive"
    assert "crashed" in requirement(found, "TRUST-1").reason
    assert results(found)["CONTROL-1"] == "not run"
    assert found.run.interrupted


@pytest.mark.parametrize(
    ("test", "result", "said"),
    [
        ("assert 1 == 2", "unmet", "assert 1 == 2"),
        ("pytest.fail('eyJhbGciOiJ9.eyJzdWIiOiJ9.x-y')", "unmet", "[redacted]"),
        ("pytest.fail('no')", "unmet", "no"),
        ("pytest.fail('Timeout (>1.0s) from pytest-timeout.')", "inconclusive", "Timeout"),
        ("{}['pony']", "inconclusive", "pony"),
        ("pytest.skip('not today')", "not run", "not today"),
        ("pytest.xfail('known')", "unmet", "known"),
    ],
)
def test_what_other_ends_of_a_test_mean(
    start: Start, pytester: pytest.Pytester, test: str, result: str, said: str
) -> None:
    marked = "import pytest\n@pytest.mark.requirement('TRUST-1')\n"
    tests = f"{marked}def test_it(mesh_installed):\n    {test}\n"
    start("--mesh-topology=one", tests=tests)
    found = requirement(report_of(pytester, "one"), "TRUST-1")
    assert found.result == result
    assert said in found.reason


def test_trouble_after_a_verdict_is_told_beside_it(start: Start, pytester: pytest.Pytester) -> None:
    tests = """
    import pytest
    @pytest.fixture
    def messy():
        yield
        raise RuntimeError("not cleaned up")
    @pytest.mark.requirement('TRUST-1')
    def test_it(mesh_installed, messy): pass
    """
    start("--mesh-topology=one", tests=textwrap.dedent(tests))
    found = report_of(pytester, "one")
    assert results(found)["TRUST-1"] == "met"
    (error,) = found.run.errors
    assert "not cleaned up" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("-k", "plain"),
        ("-k", "gateway"),
        ("--collect-only",),
        ("--setup-only",),
        ("-k", "pony"),
        ("--mesh-keep=odd",),
    ],
)
def test_nothing_is_written_where_no_requirement_is_verified(
    start: Start, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    start(*arguments)
    assert not (pytester.path / "mesh-report").exists()


def test_nothing_is_written_where_the_run_cannot_start(
    start: Start, pytester: pytest.Pytester
) -> None:
    assert start(behaviour=Behaviour(missing="root")).ret == pytest.ExitCode.USAGE_ERROR
    assert not (pytester.path / "mesh-report").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_killed_run_leaves_no_report_of_an_earlier_one(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    start()
    first = pytester.path / "mesh-report" / "one-stub-istioctl-report.yaml"
    other = pytester.path / "mesh-report" / "two-stub-istioctl-report.yaml"
    assert first.exists()
    log = pytester.path / "log"
    log.unlink()
    pytester.makepyfile(test_mesh=TESTS.replace("    pass", "    import time; time.sleep(100)", 1))
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *QUICK, "-n", workers, "--mesh-topology=one"],
        cwd=pytester.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: "install one" in recorded(log))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    assert not first.exists()
    assert not (pytester.path / "mesh-report" / "index.html").exists()
    assert other.exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_made(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    (pytester.path / "taken").write_text("a file")
    result = start("--mesh-report", "taken", "-n", workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --mesh-report: *taken: File exists"])
    assert recorded(pytester.path / "log") == []


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--mesh-report=/sys/kernel", "--mesh-report: /sys/kernel: *"),
        ("--mesh-metrics=taken/mesh.prom", "--mesh-metrics: *taken/mesh.prom: File exists"),
        ("--mesh-metrics=.", "--mesh-metrics: *: Is a directory"),
        ("--mesh-metrics=/sys/kernel/mesh.prom", "--mesh-metrics: /sys/kernel/mesh.prom: *"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_made(
    start: Start, pytester: pytest.Pytester, option: str, said: str, workers: str
) -> None:
    (pytester.path / "taken").write_text("a file")
    result = start(option, "-n", workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
    assert recorded(pytester.path / "log") == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_results_are_written_as_metrics(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    result = start("-n", workers, "--mesh-metrics=collector/mesh.prom")
    file = pytester.path / "collector" / "mesh.prom"
    expected = [
        sample
        for topology in ("one", "two")
        for sample in metrics.of_report(report_of(pytester, topology))
    ]
    assert file.read_text() == metrics.exposition(expected)
    result.stdout.fnmatch_lines([f"metrics: {file}"])


def test_metrics_are_told_by_environment_too(
    start: Start, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_METRICS", "mesh.prom")
    start("--mesh-topology=one")
    assert 'topology="one"' in (pytester.path / "mesh.prom").read_text()


def test_earlier_metrics_stay_until_there_are_new_ones(
    start: Start, pytester: pytest.Pytester
) -> None:
    (pytester.path / "mesh.prom").write_text("earlier")
    tests = TESTS.replace(
        "    pass",
        "    import pathlib; assert pathlib.Path('mesh.prom').read_text() == 'earlier'",
        1,
    )
    start("--mesh-topology=one", "--mesh-metrics=mesh.prom", tests=tests)
    assert results(report_of(pytester, "one"))["TRUST-1"] == "met"
    assert "earlier" not in (pytester.path / "mesh.prom").read_text()


def test_a_collector_that_does_not_answer_is_a_warning(
    start: Start, pytester: pytest.Pytester
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    result = start("--mesh-topology=one", "-k", "trust", "--mesh-otlp", endpoint)
    result.stdout.fnmatch_lines([f"warning: metrics were not sent to {endpoint}/v1/metrics: *"])
    assert result.ret == pytest.ExitCode.OK
    assert results(report_of(pytester, "one"))["TRUST-1"] == "met"


def test_what_is_no_collector_is_refused(start: Start, pytester: pytest.Pytester) -> None:
    result = start("--mesh-otlp=localhost:4318")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --mesh-otlp: 'localhost:4318' is not a collector's URL*"])
    assert recorded(pytester.path / "log") == []


def test_reports_that_cannot_be_written_are_told(start: Start, pytester: pytest.Pytester) -> None:
    unreportable = TESTS.replace(
        "    pass",
        "    import pathlib; pathlib.Path('mesh-report').rmdir()\n"
        "    pathlib.Path('mesh-report').touch()",
        1,
    )
    result = start("--mesh-topology=one", tests=unreportable)
    result.stdout.fnmatch_lines(["reports could not be written: *mesh-report*"])
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR


@pytest.mark.parametrize("workers", ["0", "1"])
def test_junit_holds_the_result_and_the_figures(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    start("-n", workers, "--junit-xml=junit.xml", "-o", "junit_family=xunit1")
    cases = ElementTree.parse(pytester.path / "junit.xml").getroot().iter("testcase")
    found = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in cases
    }
    assert found["test_control[two]"] == {
        "requirement": "CONTROL-1",
        "level": "core",
        "title": by_id("CONTROL-1").title,
        "topology": "two",
        "provider": "stub",
        "install": "istioctl",
        "result": "unmet",
        "cluster1.istiods": "1",
    }
    assert found["test_discovery[two]"]["result"] == "inconclusive"
    assert found["test_gateway[one]"]["result"] == "not run"
