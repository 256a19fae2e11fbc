"""Distribution by pytest-xdist: each topology's tests go to one worker, all others as asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

TopologiesOf = Callable[[str], Mapping[str, str]]


def scope_of(node_id: str, topologies: Mapping[str, str], dist: str) -> str:
    """Name of the group of tests that must run on the same worker.

    Args:
        topologies: topology by test id, of the tests that need a lab.
        dist: the value of xdist's `--dist`, which decides for tests that need none.
    """
    if node_id in topologies:
        return f"topology {topologies[node_id]}"
    match dist:
        case "loadscope":
            return node_id.rsplit("::", 1)[0]
        case "loadfile":
            return node_id.split("::", 1)[0]
        case "loadgroup":
            return node_id.rsplit("@", 1)[-1]
        case _:
            return node_id


class TopologyScheduling(LoadScopeScheduling):
    """Gives each topology as a whole to one worker.

    Args:
        topologies_of: tells by a worker's id which topology each of its tests needs.
    """

    def __init__(
        self, config: pytest.Config, log: Producer | None, topologies_of: TopologiesOf
    ) -> None:
        super().__init__(config, log)
        self._topologies_of = topologies_of
        self._topologies: dict[str, str] = {}
        self._dist = str(config.getvalue("dist"))

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        self._topologies.update(self._topologies_of(node.gateway.id))
        super().add_node_collection(node, collection)

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self._topologies, self._dist)
