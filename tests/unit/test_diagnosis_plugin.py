"""What the pytest plugin says of failures: a provider that makes nothing, and recorded facts."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_stub import QUICK, Behaviour, conftest

# A run within this process would import it anew each time, apart from what it patches.
import mesh_fixtures.diagnosis.diagnostician  # noqa: F401
from mesh_fixtures.report import Report, read

SCENARIO = """\
title: any
mesh: mesh1
networks: [{name: network1}, {name: network2}]
clusters:
  - {name: cluster1, network: network1, role: primary}
  - {name: cluster2, network: network2, role: primary}
"""

RECORDED = """
from diagnosis_recordings import recorded
from mesh_fixtures.errors import ProbeError, StepFailed
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements import ObservedMesh
from mesh_fixtures.session.labs import RUN

gathered = []

def gather(view):
    gathered.append(view)
    return recorded("remote-secret-missing").facts

patches = pytest.MonkeyPatch()
patches.setattr("mesh_fixtures.diagnosis.diagnostician.gather", gather)

def pytest_sessionfinish():
    patches.undo()  # this process may go on to test something else

@pytest.fixture(scope="session")
def mesh_observed(mesh_installed, pytestconfig):
    with MeshView(mesh_installed.lab) as view:
        mesh = ObservedMesh(view, requests=50)
        pytestconfig.stash[RUN].diagnosing.watch(mesh)
        yield mesh
"""

FAILING_STEP = """
@pytest.hookimpl(tryfirst=True)
def pytest_mesh_install(config, lab, progress):
    raise StepFailed(
        step="remote-secret/cluster2/cluster1", command=["istioctl"], exit_status=1,
        output="refused", state="", where="cluster1",
    )
"""

TESTS = """
import pytest
from mesh_fixtures.verdict.findings import Finding, Unmet
from mesh_fixtures.errors import ProbeError

@pytest.mark.requirement("DISCOVERY-1")
def test_discovery(mesh_observed):
    raise Unmet((Finding("cluster1", "cluster2 to be read", "nothing"),))

@pytest.mark.requirement("TRAFFIC-1")
def test_traffic(mesh_observed):
    raise ProbeError(wanted="answers", seen="none", where="cluster1")

@pytest.mark.requirement("CONTROL-1")
def test_control(mesh_observed):
    pass

def test_other(mesh_observed):
    assert False, "something else"
"""

Start = Callable[..., pytest.RunResult]
BUNDLE = "any-diagnostics.tar.gz"


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    for name in ("PROVIDER", "TOPOLOGY", "SCENARIOS", "KEEP", "REQUESTS", "REPORT"):
        monkeypatch.delenv(f"MESH_{name}", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    (pytester.mkdir("scenarios") / "any.yaml").write_text(SCENARIO, encoding="utf-8")

    def run(*arguments: str, more: str = "", tests: str = TESTS) -> pytest.RunResult:
        pytester.makepyfile(test_mesh=tests)
        pytester.makeconftest(conftest(pytester.path / "log", Behaviour()) + RECORDED + more)
        return pytester.runpytest(*QUICK, *arguments)

    return run


@pytest.mark.parametrize("arguments", [(), ("-n", "2")])
def test_a_failure_is_followed_by_its_cause_and_the_run_by_all_causes(
    start: Start, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    result = start(*arguments)
    result.assert_outcomes(passed=1, failed=2, errors=1)
    text = result.stdout.str()
    failure = text[text.index("_ test_discovery") : text.index("short test summary")]
    assert "cluster1: expected cluster2 to be read, but saw nothing" in failure
    assert "cause remote-secret-missing: cluster1 holds no remote secret of cluster2" in failure
    assert "what to do: istioctl create-remote-secret --context=cluster2" in failure
    assert "more: docs/troubleshooting.md#remote-secret-missing" in failure
    assert "requirement DISCOVERY-1: docs/requirements.md#discovery-1" in failure
    end = text[text.index("= diagnosis =") : text.index("short test summary")]
    assert end.count("remote-secret-missing: ") == 1
    assert "consequences: DISCOVERY-1, TRAFFIC-1" in end
    bundle = pytester.path / "mesh-report" / BUNDLE
    assert f"diagnostics bundle: {bundle}" in end
    with tarfile.open(bundle) as archive:
        names = {each.partition("/")[2] for each in archive.getnames()}
    assert {"diagnosis.txt", "recordings/1.json"} <= names


def test_what_could_not_be_seen_is_an_error_with_the_cause(start: Start) -> None:
    result = start("-k", "test_traffic")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["ProbeError: cluster1: wanted answers", "*", "cause remote-secret-missing: *"]
    )


DAMAGED = """
import pytest
from mesh_fixtures.errors import LabError
from mesh_fixtures.verdict.findings import Finding, Unmet

@pytest.mark.requirement("DISCOVERY-1")
def test_discovery(mesh_observed):
    mesh_observed.taint(LabError(wanted="the mesh to be as it was", seen="less", where="cluster1"))
    raise Unmet((Finding("cluster1", "cluster2 to be read", "nothing"),))

@pytest.mark.requirement("TRAFFIC-1")
def test_traffic(mesh_observed):
    mesh_observed.view
"""


def test_what_left_a_mesh_damaged_is_explained_and_what_comes_later_is_not(start: Start) -> None:
    result = start(tests=DAMAGED)
    result.assert_outcomes(failed=1, errors=1)
    output = result.stdout.str()
    assert output.count("cause remote-secret-missing") == 1
    assert "could not be made" not in output


def test_facts_are_gathered_once_while_the_mesh_is_the_same(start: Start) -> None:
    counting = "\ndef pytest_unconfigure(config):\n    print(f'gathered {len(gathered)} times')\n"
    start("-s", more=counting).stdout.fnmatch_lines(["gathered 1 times"])


def test_the_folder_of_reports_can_be_chosen(start: Start, pytester: pytest.Pytester) -> None:
    start("--mesh-report", "elsewhere")
    assert (pytester.path / "elsewhere" / BUNDLE).exists()
    assert not (pytester.path / "mesh-report").exists()


def test_there_is_no_bundle_where_nothing_fails(start: Start, pytester: pytest.Pytester) -> None:
    result = start("-k", "test_control")
    result.assert_outcomes(passed=1)
    assert not (pytester.path / "mesh-report" / BUNDLE).exists()
    result.stdout.no_fnmatch_line("*= diagnosis =*")


def test_a_step_of_the_installation_that_fails_is_explained(
    start: Start, pytester: pytest.Pytester
) -> None:
    result = start(more=FAILING_STEP, tests="def test_mesh(mesh_installed): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*wanted step remote-secret/cluster2/cluster1 to succeed: istioctl",
            "*cause remote-secret-missing: *",
            "*= diagnosis =*",
            "any:",
            "*remote-secret-missing: *",
            f"*diagnostics bundle: *{BUNDLE}",
        ]
    )


@pytest.mark.parametrize("arguments", [(), ("-n", "1")])
def test_reports_tell_the_cause_of_a_failure_with_its_evidence(
    start: Start, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    start(*arguments)
    found = read(Report, pytester.path / "mesh-report" / "any-stub-istioctl-report.yaml")
    (cause,) = found.causes
    assert (cause.id, cause.consequences) == ("remote-secret-missing", ("DISCOVERY-1", "TRAFFIC-1"))
    assert cause.evidence
    assert cause.remedy.startswith("istioctl create-remote-secret --context=cluster2")
    causes = {each.id: each.causes for each in found.requirements if each.causes}
    assert causes == dict.fromkeys(("DISCOVERY-1", "TRAFFIC-1"), ("remote-secret-missing",))
    assert found.run.bundle == BUNDLE


@pytest.mark.parametrize("arguments", [(), ("-n", "1")])
def test_after_a_failed_step_every_requirement_is_inconclusive_by_its_cause(
    start: Start, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    start(*arguments, "--junit-xml=junit.xml", "-o", "junit_family=xunit1", more=FAILING_STEP)
    found = read(Report, pytester.path / "mesh-report" / "any-stub-istioctl-report.yaml")
    assert [each.id for each in found.causes] == ["remote-secret-missing"]
    about = {each.id: each for each in found.requirements}
    for name in ("DISCOVERY-1", "TRAFFIC-1", "CONTROL-1"):
        assert about[name].result == "inconclusive"
        assert about[name].causes == ("remote-secret-missing",)
        assert "wanted step remote-secret/cluster2/cluster1 to succeed" in about[name].reason
    junit = (pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert junit.count('name="cause" value="remote-secret-missing"') == 3


def test_failures_without_a_requirement_are_left_as_they_are(start: Start, tmp_path: Path) -> None:
    result = start("-k", "test_other")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*cause *")
    result.stdout.fnmatch_lines([f"*diagnostics bundle: *{BUNDLE}"])
