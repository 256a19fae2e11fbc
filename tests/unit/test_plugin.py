"""The pytest plugin with a provider that makes nothing: selection, fixtures, errors, keeping."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_stub import QUICK, Behaviour, conftest, processes, recorded

from mesh_fixtures.requirements import by_id
from mesh_fixtures.session.exchange import exchanges_folder

SCENARIO = """\
title: {title}
mesh: mesh1
networks: [{networks}]
clusters:
  - {{name: cluster1, network: network1, role: primary}}
  - {{name: cluster2, network: {network}, role: primary}}
"""

TESTS = """\
import pytest

@pytest.mark.requirement("TRAFFIC-1")
def test_traffic(mesh_sample, record_property):
    record_property("share", "0.5")

@pytest.mark.requirement("TRUST-1")
def test_trust(mesh_installed):
    assert mesh_installed.lab.scenario is mesh_installed.scenario

@pytest.mark.requires("multi-network")
def test_gateway(mesh_installed):
    pass

def test_roles(mesh_scenario):
    assert mesh_scenario.primaries

def test_plain():
    pass
"""

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def log(pytester: pytest.Pytester) -> Path:
    return pytester.path / "log"


@pytest.fixture
def start(pytester: pytest.Pytester, log: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs pytest on TESTS with two scenarios, `one` and `one-multi-network`."""
    for name in ("PROVIDER", "TOPOLOGY", "SCENARIOS", "INSTALL", "IMAGES", "KEEP", "REQUESTS"):
        monkeypatch.delenv(f"MESH_{name}", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    folder = pytester.mkdir("scenarios")
    for name, networks, network in (
        ("one", "{name: network1}", "network1"),
        ("one-multi-network", "{name: network1}, {name: network2}", "network2"),
    ):
        text = SCENARIO.format(title=name, networks=networks, network=network)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    pytester.makepyfile(test_mesh=TESTS)

    def run(*arguments: str, behaviour: Behaviour | None = None) -> pytest.RunResult:
        pytester.makeconftest(conftest(log, behaviour or Behaviour()))
        return pytester.runpytest(*QUICK, *arguments)

    return run


def test_one_lab_at_a_time_each_made_and_removed_once(start: Start, log: Path) -> None:
    result = start("-v", "--strict-markers")
    result.assert_outcomes(passed=8, skipped=1)
    assert recorded(log) == [
        *(f"{what} one" for what in ("open", "install", "sample", "close")),
        *(f"{what} one-multi-network" for what in ("open", "install", "sample", "close")),
    ]
    result.stdout.fnmatch_lines(["*test_mesh.py::test_traffic?one-multi-network? PASSED*"])


def test_nothing_is_made_for_tests_that_need_no_lab(start: Start, log: Path) -> None:
    result = start("-k", "roles or plain", behaviour=Behaviour(missing="everything"))
    result.assert_outcomes(passed=3)
    assert recorded(log) == []


def test_missing_feature_skips_without_a_lab(start: Start, log: Path) -> None:
    result = start("-k", "gateway", "--mesh-topology", "one", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["one: nothing was verified, no test of it passed or failed", "*one lacks multi-network*"]
    )
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert recorded(log) == []


@pytest.mark.parametrize("workers", ["0", "1"])
def test_only_what_passed_or_failed_is_verified(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    pytester.makepyfile(test_mesh="import pytest\ndef test_it(mesh_scenario): pytest.skip('no')")
    result = start("-n", workers, "--mesh-topology=one")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["one: nothing was verified, no test of it passed or failed"])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_some_topology_verified_is_a_pass(start: Start) -> None:
    assert start("-k", "gateway").ret == pytest.ExitCode.OK


def test_keyword_selects_by_part_of_the_id_and_topology_exactly(start: Start, log: Path) -> None:
    start("-k", "trust and multi-network").assert_outcomes(passed=1, deselected=8)
    log.unlink()
    start("--mesh-topology=one", "-k", "trust").assert_outcomes(passed=1, deselected=4)
    assert "open one" in recorded(log)


def test_parameters_of_a_test_itself_are_left_alone(start: Start, log: Path) -> None:
    Path("test_mesh.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize(('number', 'mesh_scenario'), [(1, 'mine'), (2, 'yours')])\n"
        "def test_it(number, mesh_scenario): assert mesh_scenario in ('mine', 'yours')\n"
    )
    start().assert_outcomes(passed=2)
    assert recorded(log) == []


def test_unknown_feature_is_refused(start: Start, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_mesh="import pytest\n@pytest.mark.requires('pony')\ndef test_it(mesh_installed): pass"
    )
    result = start()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: marker requires('pony'): no such feature; valid*"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_bad_scenario_is_refused_before_anything_is_made(
    start: Start, pytester: pytest.Pytester, log: Path, workers: str
) -> None:
    (pytester.path / "scenarios" / "bad.yaml").write_text("title: bad\npony: 1\n")
    result = start("-n", workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *bad.yaml*", "*pony*"])
    assert recorded(log) == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_mesh_that_cannot_be_installed_as_asked_is_refused_before_anything_is_made(
    start: Start, pytester: pytest.Pytester, log: Path, workers: str
) -> None:
    one = (pytester.path / "scenarios" / "one.yaml").read_text()
    (pytester.path / "scenarios" / "revised.yaml").write_text(f"{one}\nrevision: canary\n")
    result = start("-n", workers, "--mesh-gateways=gateway-api")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: revised: needs a topology * without a revision*"])
    assert recorded(log) == []
    others = start("-n", workers, "--mesh-gateways=gateway-api", "--mesh-topology=one")
    assert others.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("workers", ["0", "2"])
def test_unfit_machine_is_one_line(start: Start, log: Path, workers: str) -> None:
    result = start("-n", workers, behaviour=Behaviour(missing="root"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        "ERROR: provider stub: needs root; seen: none; get it"
    ]
    assert recorded(log) == []


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--help",), ("--markers",)])
def test_looking_needs_no_machine(start: Start, arguments: tuple[str, ...]) -> None:
    assert start(*arguments, behaviour=Behaviour(missing="root")).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("workers", ["0", "2"])
def test_lab_that_fails_is_tried_once(start: Start, log: Path, workers: str) -> None:
    result = start("-n", workers, behaviour=Behaviour(open_fails="one"))
    result.assert_outcomes(passed=6, errors=2, skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [line for line in recorded(log) if line.endswith(" one")] == ["open one"]
    assert result.stdout.str().count("boot: wanted clusters") >= 2
    assert "Traceback" not in result.stdout.str()


def test_installation_that_fails_is_tried_once(start: Start, log: Path) -> None:
    result = start(behaviour=Behaviour(install_fails="one"))
    result.assert_outcomes(passed=6, errors=2, skipped=1)
    assert [line for line in recorded(log) if line.endswith(" one")] == [
        "open one",
        "install one",
        "close one",
    ]


@pytest.mark.parametrize(
    ("keep", "done"),
    [
        ("never", ["open", "install", "sample", "close"]),
        ("failed", ["open", "sample", "close"]),
        ("always", ["open", "sample", "keep"]),
    ],
)
def test_kept_lab_is_taken_over_unless_none_is_wanted(
    start: Start, log: Path, keep: str, done: list[str]
) -> None:
    arguments = ("-k", "traffic", "--mesh-topology=one", f"--mesh-keep={keep}")
    start(*arguments, behaviour=Behaviour(kept="one"))
    assert recorded(log) == [f"{what} one" for what in done]


@pytest.mark.parametrize(
    ("keep", "end_of_failed", "end_of_passed"),
    [("never", "close", "close"), ("failed", "keep", "close"), ("always", "keep", "keep")],
)
def test_keep(start: Start, log: Path, keep: str, end_of_failed: str, end_of_passed: str) -> None:
    start("--mesh-keep", keep, behaviour=Behaviour(install_fails="one"))
    end = [line for line in recorded(log) if line.split()[0] in ("keep", "close")]
    assert end == [f"{end_of_failed} one", f"{end_of_passed} one-multi-network"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_keep_after_a_failed_test(
    start: Start, pytester: pytest.Pytester, log: Path, workers: str
) -> None:
    pytester.makepyfile(
        test_mesh="""
        def test_wrong(mesh_sample, mesh_scenario): assert mesh_scenario.is_multi_network
        def test_right(mesh_sample): pass
        """
    )
    start("-n", workers, "--mesh-keep=failed").assert_outcomes(passed=3, failed=1)
    end = {line for line in recorded(log) if line.split()[0] in ("keep", "close")}
    assert end == {"keep one", "close one-multi-network"}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_probe_trouble_is_an_error_not_a_failure(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    pytester.makepyfile(
        test_mesh="""
        from mesh_fixtures.errors import ProbeError
        def test_it(mesh_installed):
            raise ProbeError(wanted="an answer", seen="none", where="cluster1", remedy="look")
        def test_wrong(mesh_installed):
            raise AssertionError("no")
        """
    )
    result = start("-n", workers, "--mesh-topology=one", "--junit-xml=report.xml")
    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_it*",
            "ProbeError: cluster1: wanted an answer",
            "ERROR test_mesh.py::test_it?one? - ProbeError: *",
        ]
    )
    suite = ElementTree.parse(pytester.path / "report.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("2", "1", "1")
    outcomes = {
        case.get("name"): [child.tag for child in case if child.tag != "properties"]
        for case in suite
    }
    assert outcomes == {"test_it[one]": ["error"], "test_wrong[one]": ["failure"]}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_probe_trouble_alone_verifies_nothing(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    pytester.makepyfile(
        test_mesh="""
        from mesh_fixtures.errors import LabError
        def test_it(mesh_scenario): raise LabError(wanted="a node", seen="none", where="cluster1")
        """
    )
    result = start("-n", workers, "--mesh-topology=one")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["one: nothing was verified, no test of it passed or failed"])


def test_progress_and_step_times(start: Start) -> None:
    result = start("--mesh-topology=one")
    result.stdout.re_match_lines(
        [
            r"\[one \+\d+\.\ds\] boot: 2 clusters",
            r"\[one \+\d+\.\ds\] cluster1 istiod done \d+\.\ds",
            r"=+ where the time went, seconds =+",
            r" +mesh +tests +total",
            r"one( +\d+\.\d){3}",
        ]
    )
    result.stdout.no_re_match_line("one +cluster1 +all")


def test_verbose_runs_show_each_step(start: Start) -> None:
    result = start("--mesh-topology=one", "-v")
    result.stdout.re_match_lines(
        [r"one( +\d+\.\d){3}", "one +cluster1 +all", r"  istiod +\d+\.\d", r"  total +\d+\.\d"]
    )


@pytest.mark.parametrize("flag", ["-q", "-qq"])
def test_quiet_runs_show_no_progress(start: Start, flag: str) -> None:
    assert "istiod" not in start(flag).stdout.str()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_junit_says_what_was_verified(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    start("-n", workers, "--junit-xml=report.xml", "-o", "junit_family=xunit1")
    cases = ElementTree.parse(pytester.path / "report.xml").getroot().iter("testcase")
    found = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in cases
    }
    assert found["test_traffic[one]"] == {
        "requirement": "TRAFFIC-1",
        "level": "core",
        "title": by_id("TRAFFIC-1").title,
        "topology": "one",
        "provider": "stub",
        "install": "istioctl",
        "result": "met",
        "share": "0.5",
    }
    assert found["test_gateway[one]"] == {"topology": "one"}
    assert found["test_plain"] == {}


def test_distributed_topologies_stay_whole(start: Start, log: Path) -> None:
    result = start("-n", "2", "-v")
    result.assert_outcomes(passed=8, skipped=1)
    workers = processes(log)
    assert {topology: len(found) for topology, found in workers.items()} == {
        "one": 1,
        "one-multi-network": 1,
    }
    assert workers["one"] != workers["one-multi-network"]
    assert sorted(recorded(log)) == sorted(
        f"{what} {topology}"
        for topology in ("one", "one-multi-network")
        for what in ("open", "install", "sample", "close")
    )
    result.stdout.re_match_lines_random(
        [
            r"\[one \+\d+\.\ds\] cluster1 istiod done \d+\.\ds",
            r"\[one-multi-network \+\d+\.\ds\] cluster1 istiod done \d+\.\ds",
            r"one-multi-network +cluster1 +all",
        ]
    )


def test_distributed_runs_leave_no_folder_nor_one_of_a_killed_run(start: Start) -> None:
    (exchanges_folder() / "1-0-killed").mkdir(parents=True)
    start("-n", "1", "-k", "plain").assert_outcomes(passed=1)
    assert list(exchanges_folder().iterdir()) == []


def test_distributed_skipping_of_everything_is_no_pass(start: Start) -> None:
    result = start("-n", "1", "-k", "gateway", "--mesh-topology", "one")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_plan_prints_runbooks_of_selected_topologies(
    start: Start, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mesh_fixtures.flow.runbooks_of",
        lambda choice: lambda scenario: f"runbook {scenario.id} {choice.methods}",
    )
    behaviour = Behaviour(missing="root")
    result = start("--mesh-plan", "-n", "2", "-k", "trust and multi-network", behaviour=behaviour)
    assert result.ret == pytest.ExitCode.OK
    assert [line for line in result.outlines if line.startswith("runbook")] == [
        "runbook one-multi-network istioctl"
    ]
    assert recorded(log) == []
