"""A lab of kind clusters, and its removal, by the names and labels that carry its id."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, cast

from mesh_fixtures import records
from mesh_fixtures.contract import AddressPool, Cluster, Node
from mesh_fixtures.errors import LabError, MeshConformanceError
from mesh_fixtures.lab.booted import TAKE_OVER_DEADLINE, BootedLab
from mesh_fixtures.lab.kind import boot
from mesh_fixtures.lab.kind.boot import KindBoot
from mesh_fixtures.lab.kind.configuration import cluster_name
from mesh_fixtures.lab.kind.engine import Engine, Name
from mesh_fixtures.lab.kind.parts import Parts
from mesh_fixtures.lab.processes import (
    descendants,
    end_processes,
    marked_with,
    processor_seconds,
    proportional_set_size,
)
from mesh_fixtures.lab.upkeep import attempt, require_nothing_left
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_ROUNDS = 3


class KindLab(BootedLab[KindBoot]):
    """kind clusters in containers."""

    def __init__(
        self,
        scenario: Scenario,
        record: records.Record,
        engine: Engine,
        parts: Parts,
        progress: Progress,
    ) -> None:
        booting = KindBoot(
            record.id, record.folder, record.journal, scenario, progress, engine, parts
        )
        charts = parts.helm.charts if parts.helm else None
        super().__init__(
            *(record, booting, parts.tools, parts.images, charts, parts.earlier),
            parts.methods,
            parts.definitions,
        )
        self._engine = engine

    def resume(self) -> bool:
        try:
            self._clusters = _read_clusters(self._facts)
            for name in self._clusters:
                kubectl = self._booting.kubectl(name)
                seconds = patient(TAKE_OVER_DEADLINE)
                kubectl.run("get", "--raw", "/readyz", deadline=seconds)
        except (MeshConformanceError, OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def memory(self) -> int:
        """Proportional set size of all processes of the clusters in bytes, as far as readable."""
        return proportional_set_size(self._processes())

    def processor_seconds(self) -> float:
        return processor_seconds(self._processes())

    def _processes(self) -> set[int]:
        containers = self._engine.containers(cluster_name(self.id, ""))
        roots = self._engine.pids_of([each.id for each in containers])
        return descendants(roots)

    def network_state(self) -> Mapping[str, str]:
        """Routes and filters of each node, as commands print them."""
        seen: dict[str, str] = {}
        for container in self._engine.containers(cluster_name(self.id, "")):
            for argv in (("ip", "address"), ("ip", "route"), ("iptables-save",)):
                try:
                    output = self._engine.execute(container.id, *argv)
                except LabError as error:
                    output = f"{error}\n"
                before = seen.get(container.name, "")
                seen[container.name] = f"{before}$ {' '.join(argv)}\n{output}\n"
        return seen

    @property
    def _facts(self) -> Path:
        """What is known of the clusters, for those who take the lab over."""
        return self.folder / "clusters.json"

    def _boot(self) -> None:
        self._clusters = boot.start(self._booting)
        content = [asdict(cluster) for cluster in self._clusters.values()]
        self._facts.write_text(json.dumps(content, default=str, indent=1))

    def _tear_down(self) -> None:
        tear_down(self._record)


def _read_clusters(file: Path) -> dict[str, Cluster]:
    return {each["name"]: _cluster(each) for each in json.loads(file.read_text())}


def _cluster(content: dict[str, Any]) -> Cluster:
    pool = content["load_balancer_pool"]
    return Cluster(
        name=content["name"],
        network=content["network"],
        kubeconfig=Path(content["kubeconfig"]),
        api_server=content["api_server"],
        pod_cidr=IPv4Network(content["pod_cidr"]),
        service_cidr=IPv4Network(content["service_cidr"]),
        nodes=tuple(Node(node["name"], IPv4Address(node["address"])) for node in content["nodes"]),
        load_balancer_pool=AddressPool(IPv4Address(pool["first"]), IPv4Address(pool["last"])),
    )


def tear_down(record: records.Record) -> None:
    """Remove a lab and check that nothing of it is left; kind itself is not needed.

    Every part is tried, whatever happens to the others, so that a second call has less to do.

    Raises:
        LabError: something is still there; its text names all of it.
    """
    engine = Engine(cast("Name", record.engine))
    failures = attempt(
        (
            lambda: end_processes(record.id, record.journal),
            lambda: _remove_clusters(engine, record.id),
            lambda: engine.remove_volumes(engine.volumes(cluster_name(record.id, ""))),
            lambda: _remove_network(engine, record.id),
        )
    )
    left = failures or leftovers(engine, record.id)
    require_nothing_left(record, left)
    shutil.rmtree(record.folder)


def leftovers(engine: Engine, lab: str) -> list[str]:
    """What of a lab still exists, one line each."""
    found = [f"process {pid} carries the lab's mark" for pid in marked_with(lab)]
    found += [f"container {each.id[:12]}" for each in engine.containers(cluster_name(lab, ""))]
    found += [f"volume {each[:12]}" for each in engine.volumes(cluster_name(lab, ""))]
    if engine.has_network(lab):
        found.append(f"{engine.title}'s network {lab}")
    return found


def _remove_clusters(engine: Engine, lab: str) -> None:
    for _ in range(_ROUNDS):
        # The engine may still be making one for a kind that has just been ended.
        containers = engine.containers(cluster_name(lab, ""))
        if not containers:
            return
        engine.remove_containers([each.id for each in containers])


def _remove_network(engine: Engine, lab: str) -> None:
    if engine.has_network(lab):
        engine.remove_network(lab)
