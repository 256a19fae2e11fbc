"""The pytest plugin on a existing mesh, with a provider that makes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mesh_examples import RELEASED, SCENARIOS
from plugin_stub import QUICK, Behaviour, conftest, recorded

from mesh_fixtures.contract import Discovered
from mesh_fixtures.errors import NotInstalled
from mesh_fixtures.lab.kubeconfig import discovery
from mesh_fixtures.lab.kubeconfig.inference import DISCOVERED
from mesh_fixtures.lab.kubeconfig.provider import KubeconfigProvider
from mesh_fixtures.lab.kubeconfig.reference import Reference
from mesh_fixtures.providers import all_options
from mesh_fixtures.requirements import REQUIREMENTS, registry
from mesh_fixtures.scenario import Scenario, as_yaml, default_folder
from mesh_fixtures.session.options import resolve
from mesh_fixtures.session.selection import discover

TESTS = """\
import pytest

@pytest.mark.requirement("TRUST-1")
def test_trust(mesh_installed):
    pass

@pytest.mark.requirement("CONTROL-1")
def test_control(mesh_sample):
    pass
"""
FILES = ("--mesh-kubeconfig=cluster1=one", "--mesh-kubeconfig=cluster2=two@there")

Start = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for option in all_options():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def log(pytester: pytest.Pytester) -> Path:
    return pytester.path / "log"


@pytest.fixture
def start(pytester: pytest.Pytester, log: Path) -> Start:
    """Runs pytest on TESTS with all of the project's scenarios."""
    folder = pytester.mkdir("scenarios")
    for name, scenario in SCENARIOS.items():
        (folder / f"{name}.yaml").write_text(as_yaml(scenario), encoding="utf-8")
    pytester.makepyfile(test_mesh=TESTS)
    pytester.makeconftest(conftest(log, Behaviour()))
    return lambda *arguments: pytester.runpytest(*QUICK, *arguments)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Discovered]:
    """What is found in the clusters; NotInstalled when it is empty."""
    content: list[Discovered] = []

    def discover(
        references: Sequence[Reference], system_namespace: str, *, forwards: bool
    ) -> Discovered:
        assert [each.cluster for each in references] == ["cluster1", "cluster2"]
        if not content:
            raise NotInstalled(wanted="Istio to be installed", seen="nothing", where="cluster1")
        return content[0]

    monkeypatch.setattr(discovery, "discover", discover)
    return content


def test_options(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Reference("cluster2", (pytester.path / "two",), "there")
    one = Reference("cluster1", (pytester.path / "one",), "")
    settings = resolve(
        pytester.parseconfig(*FILES, "--mesh-sleep-image=curl", "--mesh-revision=canary")
    )
    assert settings.provider.own["mesh_kubeconfig"] == (one, two)
    assert settings.external
    assert settings.provider.own["mesh_sleep_image"] == "curl"
    assert settings.provider.own["mesh_revision"] == "canary"
    monkeypatch.setenv("MESH_KUBECONFIG", "cluster2=two@there")
    assert resolve(pytester.parseconfig()).provider.own == {"mesh_kubeconfig": (two,)}
    assert not resolve(pytester.parseconfig("--mesh-provider=netns")).external


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mesh-provider=kubeconfig"], "*the kubeconfig of each cluster: --mesh-kubeconfig*"),
        (["--mesh-kubeconfig=one"], "--mesh-kubeconfig: 'one' is not CLUSTER=FILE*"),
        ([*FILES, "--mesh-install=istioctl"], "--mesh-install=istioctl: nothing is installed*"),
        ([*FILES, "--mesh-gateways=helm"], "--mesh-gateways=helm: nothing is installed*"),
        (["--mesh-install=skip"], "--mesh-install=skip: *have no mesh*--mesh-kubeconfig"),
        (["--mesh-provider=netns", "--mesh-install=skip"], "--mesh-install=skip: *have no mesh*"),
        ([*FILES, "--mesh-plan"], "--mesh-plan: nothing is installed*"),
        ([*FILES, "--mesh-apply", "recorded"], "*--mesh-apply: recorded*"),
        (
            [*FILES, "--mesh-topology=three-clusters-two-networks"],
            "*has the clusters cluster1, cluster2, cluster3; given: cluster1, cluster2",
        ),
        (
            [*FILES, "--mesh-topology=multi-primary", "--mesh-topology=primary-remote"],
            "*clusters have one mesh; name one of these",
        ),
    ],
)
def test_refused(start: Start, log: Path, flags: list[str], said: str) -> None:
    result = start(*flags)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
    assert recorded(log) == []


def test_the_scenario_is_the_one_that_is_asked_for(
    start: Start, log: Path, found: list[Discovered]
) -> None:
    result = start(*FILES, "--mesh-topology=primary-remote", "--mesh-install=skip")
    result.assert_outcomes(passed=2)
    assert recorded(log)[0] == "open primary-remote"
    result.stdout.fnmatch_lines(["cluster2: */two@there"])


@pytest.mark.parametrize(
    "topology", ["multi-primary", "primary-remote-multi-network", "two-regions"]
)
def test_a_scenario_that_says_what_is_found(
    start: Start, log: Path, found: list[Discovered], topology: str
) -> None:
    said = SCENARIOS[topology].model_copy(update={"id": DISCOVERED, "title": "found"})
    found.append(Discovered(said, ("something is odd",)))
    result = start(*FILES)
    result.assert_outcomes(passed=2)
    assert recorded(log) == [
        f"{what} {topology}" for what in ("open", "install", "sample", "close")
    ]
    result.stdout.fnmatch_lines(["discovered: something is odd"])


@pytest.mark.parametrize("proxying", [True, False])
def test_what_the_mesh_does_besides_is_verified_too(
    found: list[Discovered], proxying: bool
) -> None:
    changes = {"id": DISCOVERED, "dns_proxying": proxying}
    found.append(Discovered(SCENARIOS["multi-primary"].model_copy(update=changes), ()))
    references = [Reference(name, (), "") for name in ("cluster1", "cluster2")]
    said, _ = discover(default_folder(Path()), KubeconfigProvider(references, RELEASED))
    assert said.id == "multi-primary"
    assert said.dns_proxying == proxying


def test_what_no_scenario_says_is_verified_as_it_is_found(
    start: Start, log: Path, found: list[Discovered]
) -> None:
    content = SCENARIOS["multi-primary"].model_dump(by_alias=True)
    other = Scenario.model_validate({**content, "id": DISCOVERED, "mesh": "somebody.else"})
    found.append(Discovered(other, ()))
    result = start(*FILES, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_trust[[]discovered] PASSED*"])
    assert recorded(log)[0] == "open discovered"


def test_without_a_mesh_nothing_is_begun(start: Start, log: Path, found: list[Discovered]) -> None:
    result = start(*FILES)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*wanted Istio to be installed"])
    assert recorded(log) == []


def test_an_existing_mesh_is_not_disrupted(
    start: Start, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tuple(replace(each, disruptive=each.id == "TRUST-1") for each in REQUIREMENTS)
    monkeypatch.setattr(registry, "REQUIREMENTS", changed)
    result = start(*FILES, "--mesh-topology=multi-primary", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *TRUST-1 disrupts the mesh, which is an existing one"])
