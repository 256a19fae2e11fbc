"""The embedded lab: real Kubernetes nodes in network namespaces of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mesh_fixtures import records, runner
from mesh_fixtures.addresses import with_port
from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.artifacts.helm import HelmInstall
from mesh_fixtures.contract import Cluster, EndedService, Tools
from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.journal import Journal
from mesh_fixtures.lab import processes
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.booted import TAKE_OVER_DEADLINE, BootedLab
from mesh_fixtures.lab.netns import boot
from mesh_fixtures.lab.netns.boot import NetnsBoot
from mesh_fixtures.lab.netns.launch import path_of
from mesh_fixtures.lab.netns.network import API_SERVER_PORT, router_namespace
from mesh_fixtures.lab.netns.prepared import prepared_etcd
from mesh_fixtures.lab.netns.teardown import tear_down
from mesh_fixtures.options import BY_ISTIOCTL, InstallMethods
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_COMMANDS: Final = (
    ("ip", "-statistics", "link"),
    ("ip", "address"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "neighbour"),
    ("nft", "list", "ruleset"),
)
"""What shows what the kernel knows of a network."""

_COMMAND_DEADLINE: Final = 5.0
_ENDED: Final = re.compile(
    r"^mesh-node: (?P<name>\S+) ended at (?P<at>\S+) with (?P<how>.*)$", re.M
)


class NetnsLab(BootedLab[NetnsBoot]):
    """Clusters in network namespaces."""

    def __init__(
        self,
        scenario: Scenario,
        record: records.Record,
        artifacts: Artifacts,
        progress: Progress,
        helm: HelmInstall | None = None,
        methods: InstallMethods = BY_ISTIOCTL,
        definitions: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        addresses = assign_addresses(scenario, record.slot)
        booting = NetnsBoot(
            record.id, record.folder, record.journal, scenario, progress, addresses, artifacts
        )
        tools = Tools(
            kubectl=booting.kubectl_program,
            istioctl=artifacts.istioctl,
            helm=helm.program if helm else None,
        )
        earlier = artifacts.earlier_installed(helm.earlier if helm else None)
        charts = helm.charts if helm else None
        super().__init__(
            record, booting, tools, artifacts.images, charts, earlier, methods, definitions
        )
        self._clusters = _clusters(booting)

    @property
    def ended_services(self) -> Mapping[str, Sequence[EndedService]]:
        return {
            cluster.name: [
                ended
                for node in cluster.nodes
                for ended in ended_services(self._booting.node_folder(node.name))
            ]
            for cluster in self._booting.addresses.clusters.values()
        }

    @property
    def network_command(self) -> Sequence[str]:
        return ("nsenter", f"--net={path_of(router_namespace(self.id))}")

    def resume(self) -> bool:
        if not all(processes.is_running(entry) for entry in self._record.journal.entries()):
            return False
        try:
            for name, port in self._record.ports:
                boot.await_api_server(self._booting, name, port, patient(TAKE_OVER_DEADLINE))
        except (MeshConformanceError, OSError):
            return False
        return True

    def memory(self) -> int:
        """Proportional set size of all the lab's processes in bytes."""
        return processes.proportional_set_size(self._processes())

    def processor_seconds(self) -> float:
        return processes.processor_seconds(self._processes())

    def _processes(self) -> set[int]:
        roots = [e.pid for e in self._record.journal.entries() if e.kind == "process"]
        return processes.descendants(roots)

    def network_state(self) -> Mapping[str, str]:
        """Links, routes and filters of each network namespace, as commands print them."""
        return network_state(self._record.journal)

    def _boot(self) -> None:
        etcd = prepared_etcd(self._booting.artifacts, self._progress)
        ports = boot.start(self._booting, etcd)
        self._update(ports=tuple(ports.items()))

    def _tear_down(self) -> None:
        tear_down(self._record)


def _clusters(booting: NetnsBoot) -> dict[str, Cluster]:
    return {
        cluster.name: Cluster(
            name=cluster.name,
            network=cluster.network.name,
            kubeconfig=booting.kubeconfig_of(cluster.name),
            api_server=f"https://{with_port(cluster.control_plane.address, API_SERVER_PORT)}",
            pod_cidr=cluster.pod_cidr,
            service_cidr=cluster.service_cidr,
            nodes=tuple(node.as_node() for node in cluster.nodes),
            load_balancer_pool=cluster.pool,
            second_pool=next(iter(cluster.pools[1:]), None),
        )
        for cluster in booting.addresses.clusters.values()
    }


def ended_services(folder: Path) -> list[EndedService]:
    """Services that ended and were started again, as mesh-node says in its own log.

    Args:
        folder: of a node; the last part of it is the node's name.
    """
    log = folder / "node.log"
    if not log.exists():
        return []
    found = _ENDED.finditer(log.read_text(errors="replace"))
    return [EndedService(folder.name, each["name"], each["at"], each["how"]) for each in found]


def network_state(journal: Journal) -> Mapping[str, str]:
    """What each of a lab's network namespaces holds, by its name, as commands print it."""
    names = [entry.name for entry in journal.entries() if entry.kind == "namespace"]
    programs = _programs(journal)

    def look(namespace: str) -> str:
        enter = ["nsenter", *programs, f"--net={path_of(namespace)}"]
        return "\n".join(_output_of([*enter, *argv], argv) for argv in _COMMANDS)

    return parallel_map(look, names)


def _programs(journal: Journal) -> tuple[str, ...]:
    """How to enter the files of a node, whose programs this machine may lack; none runs: not at
    all.
    """
    for entry in journal.entries():
        if (
            entry.kind == "process"
            and entry.name.startswith("node ")
            and processes.is_running(entry)
        ):
            # the process is what waits for the node's first one, in namespaces of its own
            children = Path(f"/proc/{entry.pid}/task/{entry.pid}/children").read_text().split()
            if children:
                return (f"--mount=/proc/{children[0]}/ns/mnt",)
    return ()


def _output_of(command: list[str], argv: tuple[str, ...]) -> str:
    done = runner.run(command, seconds=patient(_COMMAND_DEADLINE))
    trouble = f"{done.trouble}\n" if done.trouble else ""
    return f"$ {' '.join(argv)}\n{done.output}{done.errors}{trouble}"
