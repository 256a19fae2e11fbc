"""The project's own tests and scenarios as people select them, and what they see without root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_stub import QUICK

from mesh_fixtures.providers import all_options
from mesh_fixtures.requirements import REQUIREMENTS

PROJECT = Path(__file__).parents[2]

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs pytest on the conformance tests as a person without root."""
    for option in all_options():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    def start(*arguments: str) -> pytest.RunResult:
        project = ("--rootdir", str(PROJECT), "-c", str(PROJECT / "pyproject.toml"))
        return pytester.runpytest(
            *QUICK,
            *project,
            "-p",
            "no:cacheprovider",
            str(PROJECT / "tests/conformance"),
            *arguments,
        )

    return start


@pytest.mark.parametrize(
    ("arguments", "selected"),
    [
        (
            ("-k", "multi-network"),
            {"multi-primary-multi-network", "primary-remote-multi-network"},
        ),
        (
            ("-k", "primary-remote or multi-primary"),
            {
                "multi-primary",
                "multi-primary-multi-network",
                "primary-remote",
                "primary-remote-multi-network",
            },
        ),
        (("--mesh-topology", "multi-primary"), {"multi-primary"}),
        (("--mesh-topology", "four-networks"), {"four-networks"}),
        (("-k", "four-networks"), {"four-networks"}),
        (
            ("-k", "(Primary-Remote-Revision) or two-regions"),
            {"primary-remote-revision", "two-regions"},
        ),
    ],
)
def test_selection(start: Start, arguments: tuple[str, ...], selected: set[str]) -> None:
    result = start("--collect-only", "-q", *arguments)
    assert result.ret == pytest.ExitCode.OK
    found = [line for line in result.outlines if "::" in line]
    ids = {each.id for each in REQUIREMENTS}
    topologies = {line.partition("[")[2].rstrip("]") for line in found}
    assert topologies == {f"{topology}-{each}" for topology in selected for each in ids}


def test_selection_leaves_nothing_of_a_topology_out(start: Start) -> None:
    def names(*arguments: str) -> list[str]:
        lines = start("--collect-only", "-q", *arguments).outlines
        return sorted(line for line in lines if "[primary-remote-multi-network-" in line)

    assert names("-k", "multi-network") == names() != []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_without_root_there_is_one_line_and_nothing_is_made(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    result = start("-k", "multi-network", "-n", workers, "--mesh-provider", "netns")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: provider netns: needs root; seen: linux, user id 1000; run ")
    assert not [path for path in (pytester.path / "state").rglob("*") if path.is_file()]


def test_no_lab_is_made_where_no_gateway_is_needed(start: Start) -> None:
    result = start("--mesh-topology=multi-primary", "-k", "GATEWAY-1", "-rs")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["*multi-primary lacks east-west-gateway"])


def test_the_runbook_needs_no_root(start: Start) -> None:
    result = start("--mesh-plan", "-k", "multi-primary-multi-network")
    assert result.ret == pytest.ExitCode.OK
    (title,) = [line for line in result.outlines if line.startswith("# ")]
    assert title.endswith("(multi-primary-multi-network)")
    result.stdout.fnmatch_lines(
        [
            "*istioctl install --context=*",
            "## Deploy HelloWorld v1",
            "## Requirements",
            "| TRAFFIC-1 | core | *",
            "| RESILIENCE-4 | extended, disruptive | *",
        ]
    )
