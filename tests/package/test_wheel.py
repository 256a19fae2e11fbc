"""What a user has who installs the wheel and starts in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures import providers, records
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import Choice
from mesh_fixtures.patience import patient
from tests.abuse.machine import snapshot
from tests.package.installed import PROJECT, Installed, environment, run, succeed

USAGE_ERROR: Final = 4
RUN_SECONDS: Final = 280.0
POLL: Final = 0.1

OTHER_PROJECT: Final = """\
import pytest

@pytest.fixture
def scenario():
    return 1

@pytest.fixture
def mesh():
    return 2

def test_it(scenario, mesh):
    assert scenario + mesh == 3
"""
HEAVY: Final = (
    *("cryptography", "filelock", "jinja2", "kubernetes", "mesh_fixtures.scenario"),
    *("mesh_fixtures.requirements", "pydantic", "pyroute2", "yaml"),
)
"""What a run that has nothing to do with meshes is not to import."""


def selected(output: str) -> list[str]:
    """Topologies and requirements of the tests that `--collect-only -q` lists."""
    return re.findall(r"::test_requirement\[(.+)\]$", output, re.MULTILINE)


def test_the_same_is_selected_as_in_the_checkout(installed: Installed, empty: Path) -> None:
    looking = ("--collect-only", "-q")
    pytest_ = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    here = succeed(*pytest_, "tests/conformance", "-k", "multi-network", *looking, folder=PROJECT)
    there = succeed(installed.command, "verify", "multi-network", *looking, folder=empty)
    assert selected(there)
    assert selected(there) == selected(here)
    assert list(empty.iterdir()) == []


def test_topologies_that_are_verified_only_by_name(installed: Installed, empty: Path) -> None:
    looking = ("--collect-only", "-q")
    done = succeed(installed.command, "verify", "four-networks", *looking, folder=empty)
    assert selected(done)
    assert all(each.startswith("four-networks-") for each in selected(done))
    assert "(four-networks)" in succeed(installed.command, "plan", "four-networks", folder=empty)


def test_the_suite_is_a_package(installed: Installed, empty: Path) -> None:
    pytest_ = (installed.python, "-m", "pytest", "-p", "no:cacheprovider")
    looking = ("--pyargs", "mesh_fixtures.suite", "--collect-only", "-q")
    by_name = succeed(*pytest_, *looking, folder=empty)
    by_command = succeed(installed.command, "verify", "--collect-only", "-q", folder=empty)
    assert selected(by_name)
    assert selected(by_name) == selected(by_command)


def test_what_is_not_known_is_handed_on(installed: Installed, empty: Path) -> None:
    # without anything to run, so that no cluster is made
    handed_on = ("-x", "-n", "2", "--junitxml=results.xml", "--deselect", "test_conformance.py")
    done = run(installed.command, "verify", "multi-network", *handed_on, folder=empty)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    assert "2 workers" in done.stdout
    assert [each.name for each in empty.iterdir()] == ["results.xml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pony",), "unrecognized arguments: --pony"),
        (("--mesh-requests", "many"), "--mesh-requests: 'many' is not a whole number"),
        (
            ("--kubeconfig", "cluster1=nowhere", "--kubeconfig", "cluster2=nowhere"),
            "needs a kubeconfig (kubeconfig of cluster1, {folder}/nowhere); seen: no such file",
        ),
    ],
)
def test_what_cannot_be_run_as_given(
    installed: Installed, empty: Path, arguments: Sequence[str], said: str
) -> None:
    done = run(installed.command, "verify", *arguments, folder=empty)
    assert done.returncode == USAGE_ERROR, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if said.format(folder=empty) in line]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def netns() -> None:
    try:
        providers.check_machine(providers.make(Choice("netns")))
    except MachineError as error:
        pytest.skip(str(error))


def ids_of_labs(process: subprocess.Popen[str]) -> set[str]:
    """Of those that a process makes; returns when it has ended."""
    found: set[str] = set()
    deadline = time.monotonic() + patient(RUN_SECONDS)
    while process.poll() is None:
        assert time.monotonic() < deadline, "the run takes too long"
        # the command becomes pytest, which is the same process
        found |= {each.id for each in records.load_all() if each.owner_pid == process.pid}
        time.sleep(POLL)
    return found


@pytest.mark.timeout(600)
def test_a_run(installed: Installed, empty: Path, netns: None) -> None:
    expression = "multi-primary-multi-network and (TRUST-1 or TRAFFIC-1)"
    output = empty.parent / "output"
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [str(installed.command), "verify", expression, "--provider", "netns"],
            cwd=empty,
            env=environment({"MESH_PATIENCE": ""}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            labs = ids_of_labs(process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    said = output.read_text(encoding="utf-8")
    assert process.returncode == 0, said
    assert "2 passed" in said
    names = {each.name for each in (empty / "mesh-report").iterdir()}
    assert names == {"index.html", "multi-primary-multi-network-netns-istioctl-report.yaml"}
    assert [each.name for each in empty.iterdir()] == ["mesh-report"]
    assert len(labs) == 1
    (lab,) = labs
    # others may use this machine meanwhile
    left = {
        what: sorted(each for each in there if lab in each) for what, there in snapshot().items()
    }
    assert not any(left.values()), left


def test_another_project_hardly_notices(installed: Installed, empty: Path) -> None:
    (empty / "test_it.py").write_text(OTHER_PROJECT, encoding="utf-8")
    # How long it takes is measured by hand; what takes long is to import these.
    (empty / "conftest.py").write_text(
        "import sys\n"
        "def pytest_unconfigure():\n"
        f"    print('imported:', sorted(set(sys.modules) & {set(HEAVY)!r}))\n",
        encoding="utf-8",
    )
    printed = succeed(
        *(installed.python, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"), folder=empty
    )
    assert "1 passed" in printed
    assert "imported: []" in printed
