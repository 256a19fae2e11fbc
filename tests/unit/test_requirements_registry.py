"""Requirements of other projects: what is registered, and how a run of pytest learns of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from mesh_examples import TWO_PRIMARIES
from plugin_stub import QUICK, Behaviour, conftest

from mesh_fixtures.requirements import REQUIREMENTS, Outcome, Requirement, by_id, known, registry


def judge(mesh: object) -> Outcome:
    return Outcome.judged(())


LATENCY = Requirement("LATENCY-1", "extended", "Requests are quick.", judge)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    registry.forget_registered()


def test_addresses_are_in_the_guide_or_of_the_specification() -> None:
    registry.register([replace(LATENCY, url="https://mesh.example/latency")])
    assert registry.address("LATENCY-1") == "https://mesh.example/latency"
    for each in REQUIREMENTS:
        assert registry.address(each.id) == f"docs/requirements.md#{each.id.lower()}"


def test_those_that_are_registered_follow_the_projects_own() -> None:
    other = replace(LATENCY, id="ACCESS-1", rests_on=("LATENCY-1",))
    registry.register([LATENCY])
    registry.register([other])
    assert known() == (*REQUIREMENTS, LATENCY, other)
    assert by_id("LATENCY-1") is LATENCY
    registry.forget_registered()
    assert known() == REQUIREMENTS


def test_the_same_one_may_be_registered_twice() -> None:
    registry.register([LATENCY, LATENCY])
    registry.register([replace(LATENCY)])
    assert known() == (*REQUIREMENTS, LATENCY)


@pytest.mark.parametrize("bad", ["", "latency-1", "LATENCY", "LATENCY-", "LATENCY-x", "A-1-2"])
def test_an_id_of_another_form_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="is not the id of a requirement, such as LATENCY-1"):
        registry.register([replace(LATENCY, id=bad)])
    assert known() == REQUIREMENTS


@pytest.mark.parametrize("taken", ["TRUST-1", "LATENCY-1"])
def test_an_id_that_is_taken_is_refused(taken: str) -> None:
    registry.register([LATENCY])
    with pytest.raises(ValueError, match=f"there is another requirement {taken}"):
        registry.register([replace(LATENCY, id=taken, title="Another one.")])
    assert known() == (*REQUIREMENTS, LATENCY)


@pytest.mark.parametrize("below", ["rests_on", "rests_on_for_remotes"])
def test_it_rests_only_on_what_is_known(below: str) -> None:
    rests: dict[str, tuple[str, ...]] = {below: ("TRUST-1", "PONY-2", "PONY-1")}
    with pytest.raises(ValueError, match="LATENCY-1 rests on PONY-1, PONY-2, which is unknown"):
        registry.register([replace(LATENCY, **rests)])  # type: ignore[arg-type]


REGISTERING = """
from mesh_fixtures.requirements import Outcome, Requirement

def pytest_mesh_requirements(config):
    return [
        Requirement(
            id="{id}",
            level="extended",
            title="Requests are quick.",
            judge=lambda mesh: Outcome.judged((), {{"seconds": 1}}),
            rests_on=("{below}",),
        )
    ]
"""

VERIFYING = "def test_requirement(mesh_verify): mesh_verify()\n"

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs pytest where a conftest registers a requirement."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    (pytester.mkdir("scenarios") / "one.yaml").write_text(TWO_PRIMARIES)
    pytester.makepyfile(test_mesh=VERIFYING)

    def start(
        *arguments: str, requirement: str = "LATENCY-1", below: str = "TRUST-1"
    ) -> pytest.RunResult:
        registering = REGISTERING.format(id=requirement, below=below)
        plugged = conftest(pytester.path / "log", Behaviour())
        pytester.makeconftest(plugged + registering)
        return pytester.runpytest(*QUICK, *arguments)

    return start


def collected(result: pytest.RunResult) -> list[str]:
    assert result.ret == pytest.ExitCode.OK
    found = [line for line in result.outlines if "::test_requirement[" in line]
    return [line.partition("[one-")[2].rstrip("]") for line in found]


def test_one_of_a_conftest_is_verified_with_the_projects_own(start: Start) -> None:
    lasting = [each.id for each in REQUIREMENTS if not each.disruptive]
    disruptive = [each.id for each in REQUIREMENTS if each.disruptive]
    assert collected(start("--collect-only", "-q")) == [*lasting, "LATENCY-1", *disruptive]
    assert known() == REQUIREMENTS  # it was of that run


@pytest.mark.parametrize("workers", ["0", "2"])
def test_it_is_judged(start: Start, pytester: pytest.Pytester, workers: str) -> None:
    junit = ("-o", "junit_family=xunit1", "--junitxml=results.xml")
    result = start("-k", "LATENCY-1", "-n", workers, *junit)
    result.assert_outcomes(passed=1)
    results = (pytester.path / "results.xml").read_text(encoding="utf-8")
    assert '<property name="requirement" value="LATENCY-1"' in results
    assert '<property name="seconds" value="1"' in results


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"requirement": "quick"}, "'quick' is not the id of a requirement, such as LATENCY-1"),
        ({"requirement": "TRUST-1"}, "there is another requirement TRUST-1"),
        ({"below": "PONY-1"}, "LATENCY-1 rests on PONY-1, which is unknown"),
    ],
)
def test_one_that_cannot_be_is_refused(start: Start, given: dict[str, str], said: str) -> None:
    result = start(**given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: pytest_mesh_requirements: {said}"])
    assert known() == REQUIREMENTS


def test_levels(start: Start) -> None:
    extended = {each.id for each in REQUIREMENTS if each.level == "extended"} | {"LATENCY-1"}
    core = {each.id for each in REQUIREMENTS if each.level == "core"}
    looking = ("--collect-only", "-q")
    assert set(collected(start("--mesh-level=core", *looking))) == core
    assert set(collected(start("--mesh-level=extended", *looking))) == extended
    both = ("--mesh-level=core", "--mesh-level=extended")
    assert set(collected(start(*both, *looking))) == core | extended


def test_a_requirement_is_selected_by_its_id(start: Start) -> None:
    assert collected(start("-k", "TRAFFIC-2", "--collect-only", "-q")) == ["TRAFFIC-2"]


@pytest.mark.parametrize("name", ["mesh_scenario", "mesh_requirement"])
def test_a_fixture_of_that_name_of_somebody_else_is_left_alone(
    pytester: pytest.Pytester, name: str
) -> None:
    pytester.makeconftest(f"import pytest\n@pytest.fixture\ndef {name}(): return 'ours'\n")
    pytester.makepyfile(f"def test_it({name}): assert {name} == 'ours'\n")
    pytester.runpytest(*QUICK).assert_outcomes(passed=1)
