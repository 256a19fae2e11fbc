"""The command line of pytest that `verify` makes of its own."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

import mesh_fixtures
from mesh_fixtures import cli
from mesh_fixtures.commands import verify
from mesh_fixtures.providers import all_options

HERE = Path("/somewhere")
TESTS = Path(__file__).parents[1] / "conformance"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in all_options():
        monkeypatch.delenv(option.variable, raising=False)


def command(*arguments: str) -> list[str]:
    parser = ArgumentParser("verify")
    verify.add(parser)
    known, unknown = parser.parse_known_args(arguments)
    return verify.command(known, unknown, HERE)


def added(*arguments: str) -> list[str]:
    """What follows from arguments."""
    plain = command()
    made = command(*arguments)
    assert made[: len(plain)] == plain
    return made[len(plain) :]


def test_the_tests_of_this_checkout_whatever_is_configured_where_it_starts() -> None:
    assert command() == [
        *(sys.executable, "-m", "pytest", str(TESTS)),
        f"--config-file={verify.CONFIGURATION}",
        f"--rootdir={HERE}",
    ]
    assert verify.CONFIGURATION.is_file()


def test_the_tests_that_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_fixtures, "__file__", str(tmp_path / "mesh_fixtures/__init__.py"))
    (tmp_path / "mesh_fixtures/suite").mkdir(parents=True)
    assert verify.suite_folder() == tmp_path / "tests/conformance"
    (tmp_path / "mesh_fixtures/suite/test_conformance.py").touch()
    assert verify.suite_folder() == tmp_path / "mesh_fixtures/suite"


@pytest.mark.parametrize(
    ("arguments", "follows"),
    [
        (("multi-network",), ["-k", "multi-network"]),
        (("a and TRAFFIC-2", "-x"), ["-k", "a and TRAFFIC-2", "-x"]),
        (("-x", "-n", "2"), ["-x", "-n", "2"]),
        (("--junitxml=results.xml", "-q"), ["--junitxml=results.xml", "-q"]),
        (("--provider", "kind"), ["--mesh-provider=kind"]),
        (("a", "--provider", "kind", "-v"), ["-k", "a", "--mesh-provider=kind", "-v"]),
        (("--provider", "kind", "a"), ["-k", "a", "--mesh-provider=kind"]),
        (
            ("--topology", "a", "--topology", "b"),
            ["--mesh-topology=a", "--mesh-topology=b"],
        ),
        (
            ("--kubeconfig", "a=x", "--kubeconfig", "b=y"),
            ["--mesh-kubeconfig=a=x", "--mesh-kubeconfig=b=y"],
        ),
        (("--disruptive",), ["--mesh-disruptive"]),
        (("--plan",), ["--mesh-plan"]),
        (("--report", "-here"), None),
        (("--rep", "x"), ["--rep", "x"]),
    ],
)
def test_what_follows_from_arguments(arguments: tuple[str, ...], follows: list[str] | None) -> None:
    if follows is None:
        with pytest.raises(SystemExit):
            added(*arguments)
    else:
        assert added(*arguments) == follows


def test_it_becomes_pytest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    became: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.execv", lambda program, argv: became.append([program, *argv]))
    cli.main(["verify", "multi-network", "--patience", "2", "-x"])
    ((program, *argv),) = became
    assert program == argv[0] == sys.executable
    assert argv[-4:] == ["-k", "multi-network", "--mesh-patience=2", "-x"]
    assert f"--rootdir={tmp_path}" in argv
