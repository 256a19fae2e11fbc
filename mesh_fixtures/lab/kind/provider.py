"""Makes labs of kind clusters."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

from mesh_fixtures.contract import Problem, Provider
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import GATEWAY_API, Choice

if TYPE_CHECKING:
    from mesh_fixtures.images import NodeImage
    from mesh_fixtures.lab.kind.engine import Engine
    from mesh_fixtures.lab.kind.lab import KindLab
    from mesh_fixtures.lab.kind.parts import Wanted
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.records import Record
    from mesh_fixtures.scenario import Scenario


class KindProvider(Provider):
    """Kubernetes in containers of Docker or Podman."""

    name = "kind"
    summary = "containers of Docker or Podman"
    needs = (
        "kind needs Linux and Docker or Podman: start one, or see "
        "mesh-conformance doctor --provider kind"
    )
    priority = 10

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    @classmethod
    def fits(cls, choice: Choice) -> str:
        del choice
        engine = answering_engine() if sys.platform == "linux" else ""
        return f"not root, {engine} answers" if engine else ""

    @classmethod
    def make(cls, choice: Choice) -> KindProvider:
        from mesh_fixtures import supported
        from mesh_fixtures.artifacts.istio_source import IstioSource
        from mesh_fixtures.lab.kind.parts import Wanted

        if choice.kubernetes and not is_image(choice.kubernetes):
            supported.KUBERNETES.require(
                choice.kubernetes,
                where="--mesh-kubernetes",
                remedy="name a node image for any other version",
            )
        return cls(Wanted(IstioSource.of(choice, path_counts=True), choice.kubernetes))

    @classmethod
    def tear_down(cls, record: Record) -> None:
        from mesh_fixtures.lab.kind import lab

        lab.tear_down(record)

    @classmethod
    def node_commands(cls, record: Record) -> Iterable[tuple[str, Sequence[str]]]:
        from mesh_fixtures.lab.kind.configuration import cluster_name
        from mesh_fixtures.lab.kind.engine import Engine, Name

        engine = Engine(cast("Name", record.engine))
        for container in engine.containers(cluster_name(record.id, "")):
            yield container.name, (engine.name, "exec", "--interactive", container.id)

    def problems(self) -> Sequence[Problem]:
        from mesh_fixtures.lab.kind import machine
        from mesh_fixtures.lab.kind.parts import missing_parts

        return [*machine.problems(), *missing_parts(self._wanted)]

    def problems_of_building(self) -> Sequence[Problem]:
        from mesh_fixtures.artifacts import build

        source = self._wanted.source
        if source.is_released:
            return ()
        return build.problems_of_labs(
            istio_version=source.version,
            earlier=source.earlier_version,
            with_charts=source.charts is not None,
            with_definitions=source.methods.gateways == GATEWAY_API,
            source=source.parts,
        )

    def images(self) -> Sequence[NodeImage]:
        from mesh_fixtures.lab.kind.parts import images_of

        return images_of(self._wanted)

    def prepare(self, progress: Progress) -> None:
        from mesh_fixtures.lab.kind.parts import gather

        gather(self._wanted, progress)

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> KindLab:
        from mesh_fixtures.lab.kind.lab import KindLab
        from mesh_fixtures.lab.kind.parts import gather
        from mesh_fixtures.lab.opening import Blueprint, open_lab

        engine = self._require_machine(scenario)
        parts = gather(self._wanted, progress, scenario).on(engine)
        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine=engine.name,
            runs=parts.digest,
            slotted=False,
            build=lambda record: KindLab(scenario, record, engine, parts, progress),
            trouble=(OSError,),
            method=parts.methods.name,
            bare=bare,
        )
        return open_lab(blueprint, progress, reuse=reuse)

    def _require_machine(self, scenario: Scenario) -> Engine:
        from mesh_fixtures.lab.kind import machine
        from mesh_fixtures.lab.kind.configuration import require_fit

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


@cache
def answering_engine() -> str:
    """What people call the first container engine that answers; empty where none does."""
    from mesh_fixtures.lab.kind import machine

    engine = machine.usable_engine()
    return "" if engine is None else engine.title


def is_image(kubernetes: str) -> bool:
    """Whether `--mesh-kubernetes` names a node image, and not a version."""
    return "/" in kubernetes or ":" in kubernetes
