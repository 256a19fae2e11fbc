"""A provider in a distribution of its own, before, while and after it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest

from tests.package.installed import THIRD_PROVIDER, Installed, run, succeed

DISTRIBUTION: Final = "mesh-paper"
TOPOLOGY: Final = "multi-primary"
PAPER: Final = ("--provider", "paper")

USING_A_LAB: Final = """\
def test_it(mesh_lab):
    assert mesh_lab.provider == "paper"
    assert all(each.kubeconfig.exists() for each in mesh_lab.clusters.values())
"""


@dataclass(frozen=True)
class Person:
    """Somebody with an environment, a folder, and a state folder that nobody else uses.

    Attributes:
        state: where this person's labs are recorded.
    """

    installed: Installed
    folder: Path
    state: Path

    @property
    def _more(self) -> Mapping[str, str]:
        return {"XDG_STATE_HOME": str(self.state)}

    def command(self, *arguments: str) -> CompletedProcess[str]:
        return run(self.installed.command, *arguments, folder=self.folder, more=self._more)

    def succeed(self, *arguments: str) -> str:
        command = self.installed.command
        return succeed(command, *arguments, folder=self.folder, more=self._more)

    def pytest(self, *arguments: str) -> str:
        options = ("-m", "pytest", "-p", "no:cacheprovider", *arguments)
        return succeed(self.installed.python, *options, folder=self.folder, more=self._more)

    def labs(self) -> list[str]:
        """Ids of those that are recorded."""
        return sorted(each.name for each in self.state.glob("*/labs/*") if each.is_dir())

    def install_provider(self) -> None:
        self.installed.pip("install", "-q", THIRD_PROVIDER, folder=self.folder)

    def uninstall_provider(self) -> None:
        self.installed.pip("uninstall", "-q", "-y", DISTRIBUTION, folder=self.folder)


@pytest.fixture
def person(installed: Installed, empty: Path, tmp_path: Path) -> Iterator[Person]:
    """Who has installed the provider."""
    somebody = Person(installed, empty, tmp_path / "state")
    somebody.install_provider()
    yield somebody
    somebody.uninstall_provider()


def test_it_and_its_option_are_offered(person: Person) -> None:
    help_of_pytest = " ".join(person.pytest("--help").split())
    assert "paper: clusters on paper" in help_of_pytest
    assert "--mesh-paper-folder=DIR" in help_of_pytest
    assert "mesh_paper_folder" in help_of_pytest
    for command in ("up", "doctor", "verify"):
        said = person.succeed(command, "--help")
        assert "--paper-folder DIR" in said
        assert "paper" in said.partition("--provider {")[2].partition("}")[0].split(",")
    # which only concerns clusters that exist already
    assert "--paper-folder" not in person.succeed("discover", "--help")


def test_doctor_asks_it(person: Person) -> None:
    assert person.succeed("doctor", *PAPER) == "provider: paper (as asked)\nnothing is missing\n"
    lacking = person.command("doctor", *PAPER, "--paper-folder", "drawer")
    assert lacking.returncode == 1
    assert f"missing: paper in {person.folder}/drawer" in lacking.stdout
    (person.folder / "drawer").mkdir()
    person.succeed("doctor", *PAPER, "--paper-folder", "drawer")


def test_up_and_down(person: Person) -> None:
    refused = person.command("up", TOPOLOGY, "--bare", *PAPER, "--paper-folder", "drawer")
    assert refused.returncode == 1
    assert f"paper in {person.folder}/drawer" in refused.stderr
    assert person.labs() == []
    said = person.succeed("up", TOPOLOGY, "--bare", *PAPER)
    (lab,) = person.labs()
    assert f"/labs/{lab}/kubeconfig" in said
    person.succeed("up", TOPOLOGY, "--bare", *PAPER)
    assert person.labs() == [lab]
    cleaned = person.succeed("clean")
    assert f"left alone: {lab} (kept, scenario {TOPOLOGY})" in cleaned
    assert person.succeed("down", TOPOLOGY) == f"removed: {lab}\n"
    assert person.labs() == []


def test_a_run_of_pytest(person: Person) -> None:
    (person.folder / "test_it.py").write_text(USING_A_LAB, encoding="utf-8")
    said = person.pytest("--mesh-provider=paper", f"--mesh-topology={TOPOLOGY}")
    assert "provider: paper (as asked)" in said
    assert "1 passed" in said
    assert person.labs() == []


def test_its_labs_are_left_alone_while_it_is_not_installed(person: Person) -> None:
    person.succeed("up", TOPOLOGY, "--bare", *PAPER)
    (lab,) = person.labs()
    person.uninstall_provider()
    reason = f"left alone: {lab} (its provider paper is not installed)"
    down = person.command("down", "--all")
    assert reason in down.stderr
    assert down.stdout == "removed: nothing, none was kept\n"
    assert reason in person.succeed("clean")
    unknown = person.command("up", TOPOLOGY, "--bare", *PAPER)
    assert "invalid choice: 'paper'" in unknown.stderr
    assert person.labs() == [lab]
    person.install_provider()
    assert person.succeed("down", "--all") == f"removed: {lab}\n"
    assert person.labs() == []
