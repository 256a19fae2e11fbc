from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesh_fixtures.patience import patient

SCENARIO = "multi-primary"
SECONDS = 300.0


@dataclass(frozen=True)
class BareLab:
    """Clusters without a mesh, used as a person would.

    Attributes:
        environment: of commands, as `up` prints it.
        clusters: names of their contexts.
        output: what `up` printed.
    """

    environment: Mapping[str, str]
    clusters: tuple[str, ...]
    output: str

    def command(self, *arguments: str, check: bool = True) -> str:
        """Output of mesh-conformance."""
        return self._run("mesh-conformance", *arguments, check=check)

    def kubectl(self, cluster: str, *arguments: str, stdin: str = "") -> str:
        return self._run("kubectl", f"--context={cluster}", *arguments, stdin=stdin)

    def create(self, cluster: str, manifest: Mapping[str, Any]) -> None:
        self.kubectl(cluster, "create", "-f", "-", stdin=json.dumps(manifest))

    def _run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patient(SECONDS),
            check=False,
            env=self.environment,
        )
        assert done.returncode == 0 or not check, f"{argv}: {done.stderr}\n{done.stdout}"
        return done.stdout + ("" if check else done.stderr)


Up = Callable[..., BareLab]


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Calls `up --bare` with more options; the lab is removed in the end."""
    folder = tmp_path_factory.mktemp("state")
    programs = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(folder),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }

    def call(*options: str) -> BareLab:
        done = subprocess.run(
            ["mesh-conformance", "up", "--bare", SCENARIO, *options],
            stdout=subprocess.PIPE,
            text=True,
            timeout=patient(SECONDS),
            check=True,
            env=environment,
        )
        found = re.search(r"export KUBECONFIG=(\S+) PATH=([^\s:$]+)", done.stdout)
        assert found, done.stdout
        path = f"{found[2]}:{environment['PATH']}"
        own = {**environment, "KUBECONFIG": found[1], "PATH": path}
        return BareLab(own, ("cluster1", "cluster2"), done.stdout)

    yield call
    subprocess.run(
        ["mesh-conformance", "down", SCENARIO],
        timeout=patient(SECONDS),
        check=True,
        env=environment,
    )


@pytest.fixture(scope="session")
def lab(up: Up) -> BareLab:
    return up()
