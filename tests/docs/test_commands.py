"""Every command that docs/ shows is run, in a copy of what the project's folder has for users.

Those that need clusters run where the embedded lab can: the mesh that somebody has is one that
`mesh-conformance up` installs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from mesh_fixtures import providers
from mesh_fixtures.artifacts.images import HELLOWORLD, SLEEP
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import Choice
from tests.docs.pages import PAGES, ROOT, blocks
from tests.lab.image_archives import docker_archive

DEADLINE: Final = 280.0
REMOVAL: Final = 120.0
TOPOLOGY: Final = "multi-primary"
"""Of the mesh that is there already."""

IMAGES: Final = "agnhost.tar"
"""An archive that somebody saved."""

USED: Final = ("conftest.py", "docs", "pyproject.toml", "scenarios", "tests/conformance")
SHOWING: Final = [page for page in PAGES if any(not each.lab for each in blocks(page))]
ON_CLUSTERS: Final = [page for page in PAGES if any(each.lab for each in blocks(page))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what commands read, which they may write to."""
    for name in USED:
        source, copy = ROOT / name, tmp_path / "project" / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    return tmp_path / "project"


@pytest.fixture
def netns() -> None:
    try:
        providers.check_machine(providers.make(Choice("netns")))
    except MachineError as error:
        pytest.skip(str(error))


@pytest.fixture
def existing_mesh(netns: None, folder: Path) -> Iterator[Mapping[str, str]]:
    """Kubeconfigs in the folder, and the environment that images of its nodes need."""
    output = run(f"mesh-conformance up {TOPOLOGY} --provider netns", folder)
    try:
        shown = re.search(r"^ *export KUBECONFIG=(\S+)", output, re.MULTILINE)
        assert shown, output
        content = yaml.safe_load(Path(shown[1]).read_text(encoding="utf-8"))
        for name, cluster in (("one", "cluster1"), ("two", "cluster2")):
            own = yaml.safe_dump(content | {"current-context": cluster})
            (folder / f"{name}.yaml").write_text(own, encoding="utf-8")
        yield {"MESH_HELLOWORLD_IMAGE": HELLOWORLD["v1"], "MESH_SLEEP_IMAGE": SLEEP}
    finally:
        run(f"mesh-conformance down {TOPOLOGY}", folder)


def run(commands: str, folder: Path, more: Mapping[str, str] | None = None) -> str:
    """Standard output of commands, all of which have to succeed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MESH_", "PYTEST_", "COV_"))
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    started = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={**environment, **(more or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = started.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGINT)  # what it has made is removed
        output, _ = started.communicate(timeout=REMOVAL)
        pytest.fail(f"not done within {DEADLINE:g} s:\n{commands}\n{output}")
    assert started.returncode == 0, f"exit status {started.returncode} of:\n{commands}\n{output}"
    return output


@pytest.mark.parametrize("page", SHOWING, ids=lambda page: page.name)
def test_commands_that_need_no_cluster(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if not block.lab:
            assert run(block.commands, folder) or ">" in block.commands, f"{block} says nothing"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ON_CLUSTERS, ids=lambda page: page.name)
def test_commands_that_need_clusters(
    page: Path, folder: Path, netns: None, request: pytest.FixtureRequest
) -> None:
    environment: Mapping[str, str] = {}
    text = page.read_text(encoding="utf-8")
    if "one.yaml" in text:
        environment = request.getfixturevalue("existing_mesh")
    if IMAGES in text:
        docker_archive(folder / IMAGES, "agnhost:1", Path("/bin/true"))
    for block in blocks(page):
        run(block.commands, folder, environment)
