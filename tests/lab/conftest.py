from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.commands import Commands, environment_of, exported, removed_afterwards, succeed

SCENARIO = "multi-primary"


@dataclass(frozen=True)
class BareLab(Commands):
    """Clusters without a mesh, used as a person would.

    Attributes:
        clusters: names of their contexts.
        output: what `up` printed.
    """

    clusters: tuple[str, ...]
    output: str

    def command(self, *arguments: str, check: bool = True) -> str:
        """Output of mesh-conformance."""
        return self.run("mesh-conformance", *arguments, check=check)

    def create(self, cluster: str, manifest: Mapping[str, Any]) -> None:
        self.kubectl(cluster, "create", "-f", "-", stdin=json.dumps(manifest))


Up = Callable[..., BareLab]


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Calls `up --bare` with more options; the lab is removed in the end."""
    environment = environment_of(tmp_path_factory.mktemp("state"))

    def call(*options: str) -> BareLab:
        output = succeed(environment, "up", "--bare", SCENARIO, *options)
        return BareLab(exported(environment, output), ("cluster1", "cluster2"), output)

    with removed_afterwards(environment):
        yield call


@pytest.fixture(scope="session")
def lab(up: Up) -> BareLab:
    return up()
