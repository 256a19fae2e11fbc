"""The controller under pytest-xdist: schedules topologies, checks the machine, stops workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

from mesh_fixtures.interruption import interruption
from mesh_fixtures.options import PATIENCE
from mesh_fixtures.patience import patient
from mesh_fixtures.session.exchange import Exchange, Follower, remove_abandoned
from mesh_fixtures.session.labs import RUN

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


REMOVAL_SECONDS: Final = 60.0
"""What workers get to remove their labs when the run is interrupted."""


class DistributionPlugin:
    """Plugin of the controller process.

    Args:
        check_machine: raises pytest.UsageError where labs cannot be made.

    Raises:
        MachineError: this process cannot keep state on this machine.
    """

    def __init__(
        self, config: pytest.Config, check_machine: Callable[[pytest.Config], None]
    ) -> None:
        self._config = config
        self._check_machine = check_machine
        self._run = config.stash[RUN]
        remove_abandoned()
        self._exchange = Exchange.create()
        self._follower = Follower(self._exchange, self._run.sink)
        self._checked = False

    def pytest_configure_node(self, node: WorkerController) -> None:
        node.workerinput["mesh_exchange"] = str(self._exchange.folder)
        patience = self._run.settings.patience
        node.workerinput[PATIENCE.name] = (patience.factor, patience.reason)

    def pytest_xdist_make_scheduler(
        self, config: pytest.Config, log: Producer
    ) -> TopologyScheduling | None:
        if config.getvalue("dist") == "each":
            return None
        return TopologyScheduling(config, log, self._topologies_of)

    def _topologies_of(self, worker: str) -> Mapping[str, str]:
        return self._exchange.collected_by(worker).topologies

    def pytest_xdist_node_collection_finished(
        self, node: WorkerController, ids: Sequence[str]
    ) -> None:
        del ids
        collected = self._exchange.collected_by(node.gateway.id)
        if collected.usage_error:
            raise pytest.UsageError(collected.usage_error)
        self._run.select(collected)
        if collected.topologies and not self._checked:
            self._checked = True
            self._check_machine(self._config)
            interruption.hold()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        seconds = patient(REMOVAL_SECONDS)
        if not self._exchange.stop_holders(seconds):
            left = ", ".join(str(pid) for pid in self._exchange.holders())
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                reporter.write_line(
                    f"processes {left} did not remove their labs within {seconds:.0f} s; "
                    "run: mesh-conformance clean",
                    red=True,
                )
        self._follower.close()
        for topology in self._run.scenarios:
            self._run.versions[topology] = self._exchange.versions_of(topology)

    def pytest_unconfigure(self) -> None:
        self._follower.close()
        if self._checked:
            self._checked = False
            interruption.release()
        self._exchange.remove()
