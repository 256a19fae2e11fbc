"""The suite in a run by itself, on a lab that a plugin breaks and that is fit for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh_fixtures.contract import Lab
from mesh_fixtures.report.document import read
from mesh_fixtures.report.model import Report, RequirementReport

_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class SeparateRun:
    """What became of a run on one topology.

    Attributes:
        file: of the report.
        output: of pytest.
    """

    file: Path
    report: Report
    output: str

    def of(self, requirement: str) -> RequirementReport:
        (found,) = [each for each in self.report.requirements if each.id == requirement]
        return found


def verified(
    topology: str,
    folder: Path,
    *arguments: str,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> SeparateRun:
    """Run the suite on a lab of a topology that is removed in the end.

    Args:
        folder: for its report.
        arguments: further ones of pytest.
        seconds: after which it is ended.
        variables: of its environment, besides this process's.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(_ROOT / "tests/conformance"), *arguments),
            *("--mesh-provider", "netns", "--mesh-topology", topology),
            *("--mesh-keep", "never", "--mesh-report", str(folder)),
        ],
        cwd=_ROOT,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    output = done.stdout + done.stderr
    files = list(folder.glob("*-report.yaml"))
    assert len(files) == 1, output
    return SeparateRun(files[0], read(Report, files[0]), output)


def kubectl(
    lab: Lab, cluster: str, namespace: str, *arguments: str, seconds: float, content: str = ""
) -> None:
    """Run kubectl on a lab of this run.

    Args:
        seconds: after which it is ended.
        content: of its standard input.
    """
    subprocess.run(
        [str(lab.tools.kubectl), "--context", cluster, "-n", namespace, *arguments],
        env={**lab.environment, "KUBECONFIG": str(lab.kubeconfig)},
        input=content,
        text=True,
        check=True,
        timeout=seconds,
    )
