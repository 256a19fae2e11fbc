"""Makes labs of kind clusters."""

from __future__ import annotations

from collections.abc import Sequence

from mesh_fixtures.artifacts.helm_install import method_name
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.kind import machine
from mesh_fixtures.lab.kind.configuration import require_fit
from mesh_fixtures.lab.kind.engine import Engine
from mesh_fixtures.lab.kind.lab import KindLab
from mesh_fixtures.lab.kind.parts import Wanted, gather, lacks
from mesh_fixtures.lab.opening import Blueprint, open_lab
from mesh_fixtures.lab.provider import Problem
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario


class KindProvider:
    """Makes labs of kind clusters; implements `mesh_fixtures.lab.provider.Provider`."""

    def __init__(self, wanted: Wanted | None = None) -> None:
        self._wanted = wanted or Wanted()

    @property
    def name(self) -> str:
        return "kind"

    def problems(self) -> Sequence[Problem]:
        return [*machine.problems(), *lacks(self._wanted)]

    def prepare(self, progress: Progress) -> None:
        gather(self._wanted, progress)

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> KindLab:
        engine = self._require_machine(scenario)
        parts = gather(self._wanted, progress).on(engine)
        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine=engine.name,
            runs=parts.digest,
            slotted=False,
            build=lambda record: KindLab(scenario, record, engine, parts, progress),
            trouble=(OSError,),
            method=method_name(parts.helm),
            bare=bare,
        )
        return open_lab(blueprint, progress, reuse=reuse)

    def _require_machine(self, scenario: Scenario) -> Engine:
        require_fit(scenario)
        nodes = sum(cluster.nodes for cluster in scenario.clusters)
        found = machine.problems(nodes)
        engine = machine.usable_engine()
        if found or engine is None:
            raise MachineError(
                wanted="a machine that can run kind clusters",
                seen="; ".join(f"{p.missing} is missing" for p in found),
                where="provider kind",
                remedy="; ".join(dict.fromkeys(p.remedy for p in found if p.remedy)),
            )
        return engine
