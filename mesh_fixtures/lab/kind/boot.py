"""Boots a lab's kind clusters: network, clusters, images, load balancers, routes and filters."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures.certificates import write_private
from mesh_fixtures.contract import AddressPool, Cluster, Node
from mesh_fixtures.errors import LabError
from mesh_fixtures.journal import Journal
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.addressing import LabAddresses
from mesh_fixtures.lab.kind import configuration
from mesh_fixtures.lab.kind.configuration import API_SERVER_PORT, NodeNetwork, cluster_name
from mesh_fixtures.lab.kind.engine import Engine
from mesh_fixtures.lab.kind.kubeconfigs import for_cluster
from mesh_fixtures.lab.kind.parts import Parts
from mesh_fixtures.lab.kubectl import ADD_ON_DEADLINE, Kubectl
from mesh_fixtures.lab.pki import merge_kubeconfigs
from mesh_fixtures.lab.processes import end_processes, marked_environment
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

CREATION_DEADLINE: Final = 420.0
"""Seconds for a cluster; the engine may have to pull kind's node image first."""

LOAD_DEADLINE: Final = 300.0
POD_CIDR_DEADLINE: Final = 60.0
LIST_DEADLINE: Final = 30.0
_CLUSTER_PROCESS = Path(__file__).with_name("cluster_process.py")
_POLL = 0.5


@dataclass
class Boot:
    """A lab on its way up."""

    lab: str
    folder: Path
    journal: Journal
    scenario: Scenario
    engine: Engine
    parts: Parts
    progress: Progress
    stopping: threading.Event = field(default_factory=threading.Event)

    def kubeconfig_of(self, cluster: str) -> Path:
        return self.folder / f"{cluster}.kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        return marked_environment(self.lab) | self.engine.environment(self.lab)

    def kubectl(self, cluster: str) -> Kubectl:
        environment = self.environment | {"KUBECACHEDIR": str(self.folder / "kubectl")}
        program, kubeconfig = self.parts.tools.kubectl, self.kubeconfig_of(cluster)
        return Kubectl(program, kubeconfig, cluster, environment, self.stopping)

    def on_every_cluster(self, action: Callable[[str], None], *, all_or_nothing: bool) -> None:
        """Do something for all clusters at the same time.

        Args:
            all_or_nothing: end the lab's processes on the first trouble or interrupt, so that
                nothing waits for clusters that nobody will use.

        Raises:
            LabError: the first one that any of them raised.
        """
        names = [cluster.name for cluster in self.scenario.clusters]
        parallel_map(action, names, on_trouble=self.give_up if all_or_nothing else None)

    def give_up(self) -> None:
        """End what is under way.

        Raises:
            LabError: a process is still there.
        """
        self.stopping.set()
        end_processes(self.lab, self.journal)


def start(boot: Boot) -> dict[str, Cluster]:
    """Make the network and the clusters, with images and load balancers; join them by routes.

    Raises:
        LabError: something did not come up in time.
    """
    with boot.progress.phase("network"):
        _refuse_namesakes(boot)
        boot.engine.create_network(boot.lab)
        subnet = boot.engine.subnet_of(boot.lab)
        addresses = configuration.addresses_beside(boot.scenario, subnet)
        pools = configuration.pools(boot.scenario, subnet)

    def make(cluster: str) -> None:
        with boot.progress.phase("nodes", cluster):
            _create(boot, cluster, addresses)
        with boot.progress.phase("images", cluster):
            _load_images(boot, cluster)
        with boot.progress.phase("add-ons", cluster):
            _add_load_balancer(boot, cluster, pools[cluster])

    boot.on_every_cluster(make, all_or_nothing=True)
    with boot.progress.phase("routes"):
        return _join(boot, addresses, pools)


def settle(boot: Boot) -> None:
    """Wait until nodes, DNS and load balancers of all clusters work.

    Raises:
        LabError: one of them does not, in time.
    """

    def await_add_ons(cluster: str) -> None:
        with boot.progress.phase("DNS and load balancer", cluster):
            kubectl = boot.kubectl(cluster)
            seconds = patient(ADD_ON_DEADLINE)
            kubectl.wait("wait", "--for=condition=Ready", "node", "--all", seconds=seconds)
            kubectl.await_rollout("kube-system", "deployment", "coredns")
            kubectl.await_rollout(load_balancer.NAMESPACE, "deployment", "controller")
            kubectl.await_rollout(load_balancer.NAMESPACE, "daemonset", "speaker")

    boot.on_every_cluster(await_add_ons, all_or_nothing=False)


def _refuse_namesakes(boot: Boot) -> None:
    """See to it that what will be made cannot be taken for something that is there.

    Raises:
        LabError: something has a name that the lab would use.
    """
    there = [each.name for each in boot.engine.containers(cluster_name(boot.lab, ""))]
    if boot.engine.has_network(boot.lab):
        there.append(f"network {boot.lab}")
    if there:
        raise LabError(
            wanted=f"no clusters or networks named {boot.lab}",
            seen=", ".join(there),
            where=boot.engine.title,
            remedy="start again: the next lab gets another name",
        )


def _create(boot: Boot, cluster: str, addresses: LabAddresses) -> None:
    file = boot.folder / f"{cluster}.kind.yaml"
    told = configuration.cluster_configuration(boot.scenario, cluster, addresses)
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    of_kind = boot.folder / f"{cluster}.kind.kubeconfig"
    seconds = patient(CREATION_DEADLINE)
    _call(boot, cluster, "create", str(file), what="the cluster", deadline=seconds)
    write_private(boot.kubeconfig_of(cluster), for_cluster(of_kind.read_text(), cluster).encode())


def _load_images(boot: Boot, cluster: str) -> None:
    for archive in boot.parts.archives:
        _load_archive(boot, cluster, archive, f"{archive.name} to be loaded")
    for image in boot.parts.images_of_host:
        what = f"the image {image} to be loaded"
        if boot.engine.name == "docker":
            seconds = patient(LOAD_DEADLINE)
            _call(boot, cluster, "load-docker-image", image, what=what, deadline=seconds)
        else:  # which kind asks Docker for, whatever engine runs its nodes
            archive = boot.folder / f"{cluster}.image.tar"
            boot.engine.save_image(image, archive)
            _load_archive(boot, cluster, archive, what)
            archive.unlink()  # Podman does not write over one


def _load_archive(boot: Boot, cluster: str, archive: Path, what: str) -> None:
    name = cluster_name(boot.lab, cluster)
    command = [str(boot.parts.kind), "load", "image-archive", str(archive), "--name", name]
    _run(boot, cluster, command, what=what, deadline=patient(LOAD_DEADLINE))


def _call(boot: Boot, cluster: str, call: str, subject: str, *, what: str, deadline: float) -> None:
    """Have KindCluster do something: see `cluster_process`."""
    command = [
        *(sys.executable, str(_CLUSTER_PROCESS), cluster_name(boot.lab, cluster)),
        *(str(boot.folder / f"{cluster}.kind.kubeconfig"), boot.parts.node_image),
        *(str(boot.parts.kind), str(boot.parts.tools.kubectl), call, subject),
    ]
    _run(boot, cluster, command, what=what, deadline=deadline)


def _run(boot: Boot, cluster: str, command: list[str], *, what: str, deadline: float) -> None:
    """Run a program with its children to its end; its output goes to the cluster's kind.log.

    Raises:
        LabError: it failed, or did not end in time.
    """
    log = boot.folder / f"{cluster}.kind.log"
    if boot.stopping.is_set():
        raise LabError(wanted=what, seen="the lab is being removed", where=cluster)
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=boot.folder,
            env=boot.environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            status: int | None = process.wait(deadline)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)
    if status != 0:
        ended = f"exit status {status}" if status is not None else "it was still running"
        raise LabError(
            wanted=f"{what} within {deadline:g} s",
            seen=f"{ended}\n{reason(log.read_text(errors='replace'))}",
            where=f"{cluster}, kind with {boot.engine.title}",
            remedy="kind's known issues (its documentation) list what machines lack",
        )


def reason(log: str, lines: int = 12) -> str:
    """Why kind failed: what it and the programs that it ran call errors, else the log's end."""
    told = [line for line in log.splitlines() if line.strip()]
    errors = [line.strip() for line in told if re.match(r"\s*(ERROR|error|fatal)\b", line)]
    return "\n".join(dict.fromkeys(errors[-lines:] or told[-lines:]))


def _add_load_balancer(boot: Boot, cluster: str, pool: AddressPool) -> None:
    """MetalLB: definitions, then its pool, then its workloads and at last its webhook, which would
    refuse the pool until it serves.
    """
    kubectl = boot.kubectl(cluster)
    manifests = [load_balancer.with_webhook_certificate(m) for m in boot.parts.metallb]
    definitions = _of(manifests, "CustomResourceDefinition")
    webhooks = _of(manifests, "ValidatingWebhookConfiguration")
    others = [m for m in manifests if m not in definitions and m not in webhooks]
    kubectl.create([*definitions, *others])
    names = [f"crd/{m['metadata']['name']}" for m in definitions]
    seconds = patient(ADD_ON_DEADLINE)
    kubectl.wait("wait", "--for=condition=Established", *names, seconds=seconds)
    kubectl.create([*load_balancer.pool_manifests(pool), *webhooks])


def _of(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def _join(
    boot: Boot, addresses: LabAddresses, pools: Mapping[str, AddressPool]
) -> dict[str, Cluster]:
    """Give nodes the routes and filters that make mesh networks of the one container network."""
    nodes: dict[str, list[NodeNetwork]] = {}

    def ask(cluster: str) -> None:
        nodes[cluster] = _nodes(boot, cluster)

    def tell(cluster: str) -> None:
        near = [
            node
            for other in boot.scenario.clusters
            if boot.scenario.same_network(cluster, other.name)
            for node in nodes[other.name]
        ]
        foreign: list[IPv4Network] = [
            addresses.clusters[other.name].pod_cidr
            for other in boot.scenario.clusters
            if not boot.scenario.same_network(cluster, other.name)
        ]
        own = addresses.clusters[cluster].pod_cidr
        for node in nodes[cluster]:
            for command in (
                *configuration.routes(node, near),
                *configuration.filters(own, foreign),
            ):
                boot.engine.execute(node.container, *command)

    boot.on_every_cluster(ask, all_or_nothing=True)
    boot.on_every_cluster(tell, all_or_nothing=True)
    kubeconfigs = [boot.kubeconfig_of(each.name).read_text() for each in boot.scenario.clusters]
    write_private(boot.folder / "kubeconfig", merge_kubeconfigs(kubeconfigs).encode())
    return {
        each.name: Cluster(
            name=each.name,
            network=each.network,
            kubeconfig=boot.kubeconfig_of(each.name),
            api_server=f"https://{nodes[each.name][0].address}:{API_SERVER_PORT}",
            pod_cidr=addresses.clusters[each.name].pod_cidr,
            service_cidr=addresses.clusters[each.name].service_cidr,
            nodes=tuple(Node(node.container, node.address) for node in nodes[each.name]),
            load_balancer_pool=pools[each.name],
        )
        for each in boot.scenario.clusters
    }


def _nodes(boot: Boot, cluster: str) -> list[NodeNetwork]:
    """The nodes of a cluster, its control plane first; kind names them as their containers.

    Raises:
        LabError: one of them is given no pod CIDR in time.
    """
    kubectl = boot.kubectl(cluster)
    seconds = patient(POD_CIDR_DEADLINE)
    kubectl.wait("wait", "--for=jsonpath={.spec.podCIDR}", "node", "--all", seconds=seconds)
    seconds = patient(LIST_DEADLINE)
    listed = yaml.safe_load(kubectl.run("get", "nodes", "--output=yaml", deadline=seconds))
    found = [
        NodeNetwork(
            container=item["metadata"]["name"],
            address=next(
                IPv4Address(each["address"])
                for each in item["status"]["addresses"]
                if each["type"] == "InternalIP"
            ),
            pods=IPv4Network(item["spec"]["podCIDR"]),
        )
        for item in listed["items"]
    ]
    return sorted(found, key=lambda node: not node.container.endswith("-control-plane"))
