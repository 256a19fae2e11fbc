"""Boots a lab's kind clusters: network, clusters, images, load balancers, routes and filters."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures.addresses import IPNetwork
from mesh_fixtures.contract import AddressPool, Cluster, Node
from mesh_fixtures.errors import LabError
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.addressing import LabAddresses
from mesh_fixtures.lab.booted import Boot
from mesh_fixtures.lab.kind import configuration
from mesh_fixtures.lab.kind.configuration import API_SERVER_PORT, NodeNetwork, cluster_name
from mesh_fixtures.lab.kind.engine import Engine
from mesh_fixtures.lab.kind.parts import Parts
from mesh_fixtures.lab.pki import kubeconfig
from mesh_fixtures.patience import one_at_a_time, patient

CREATION_DEADLINE: Final = 420.0
"""Seconds for a cluster; the engine may have to pull kind's node image first."""

LOAD_DEADLINE: Final = 300.0
POD_CIDR_DEADLINE: Final = 60.0
LIST_DEADLINE: Final = 30.0
_CLUSTER_PROCESS = Path(__file__).with_name("cluster_process.py")


@dataclass(frozen=True)
class KindBoot(Boot):
    """Boots kind clusters."""

    engine: Engine
    parts: Parts

    @property
    def kubectl_program(self) -> Path:
        return self.parts.tools.kubectl

    @property
    def environment(self) -> Mapping[str, str]:
        return {**super().environment, **self.engine.environment(self.lab)}


def start(boot: KindBoot) -> dict[str, Cluster]:
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

    boot.on_every_cluster(make, all_or_nothing=True, at_most=1 if one_at_a_time() else None)
    with boot.progress.phase("routes"):
        return _join(boot, addresses, pools)


def _refuse_namesakes(boot: KindBoot) -> None:
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


def _create(boot: KindBoot, cluster: str, addresses: LabAddresses) -> None:
    file = boot.folder / f"{cluster}.kind.yaml"
    spec = configuration.cluster_configuration(boot.scenario, cluster, addresses)
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    of_kind = boot.folder / f"{cluster}.kind.kubeconfig"
    seconds = patient(CREATION_DEADLINE)
    _call(boot, cluster, "create", str(file), what="the cluster", deadline=seconds)
    boot.write_kubeconfig(cluster, with_context(of_kind.read_text(), cluster))


def with_context(of_kind: str, context: str) -> str:
    """Kind's kubeconfig with the same access, and one context of the given name.

    Args:
        of_kind: YAML with one cluster and one user, whose certificates it holds.
    """
    content = yaml.safe_load(of_kind)
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    return kubeconfig(
        context,
        cluster["server"],
        base64.b64decode(cluster["certificate-authority-data"]),
        base64.b64decode(user["client-certificate-data"]),
        base64.b64decode(user["client-key-data"]),
    )


def _load_images(boot: KindBoot, cluster: str) -> None:
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


def _load_archive(boot: KindBoot, cluster: str, archive: Path, what: str) -> None:
    name = cluster_name(boot.lab, cluster)
    command = [str(boot.parts.kind), "load", "image-archive", str(archive), "--name", name]
    _run(boot, cluster, command, what=what, deadline=patient(LOAD_DEADLINE))


def _call(
    boot: KindBoot, cluster: str, call: str, subject: str, *, what: str, deadline: float
) -> None:
    """Have KindCluster do something: see `cluster_process`."""
    command = [
        *(sys.executable, str(_CLUSTER_PROCESS), cluster_name(boot.lab, cluster)),
        *(str(boot.folder / f"{cluster}.kind.kubeconfig"), boot.parts.node_image),
        *(str(boot.parts.kind), str(boot.parts.tools.kubectl), call, subject),
    ]
    _run(boot, cluster, command, what=what, deadline=deadline)


def _run(boot: KindBoot, cluster: str, command: list[str], *, what: str, deadline: float) -> None:
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
    written = [line for line in log.splitlines() if line.strip()]
    errors = [line.strip() for line in written if re.match(r"\s*(ERROR|error|fatal)\b", line)]
    return "\n".join(dict.fromkeys(errors[-lines:] or written[-lines:]))


def _add_load_balancer(boot: KindBoot, cluster: str, pool: AddressPool) -> None:
    """MetalLB: definitions, then its pool, then its workloads and at last its webhook, which would
    refuse the pool until it serves.
    """
    kubectl = boot.kubectl(cluster)
    manifests = [load_balancer.with_webhook_certificate(m) for m in boot.parts.metallb]
    definitions = _of(manifests, "CustomResourceDefinition")
    webhooks = _of(manifests, "ValidatingWebhookConfiguration")
    others = [m for m in manifests if m not in definitions and m not in webhooks]
    kubectl.create([*definitions, *others])
    kubectl.await_established(definitions)
    kubectl.create([*load_balancer.pool_manifests(pool), *webhooks])


def _of(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def _join(
    boot: KindBoot, addresses: LabAddresses, pools: Mapping[str, AddressPool]
) -> dict[str, Cluster]:
    """Give nodes the routes and filters that make mesh networks of the one container network."""
    nodes = boot.on_every_cluster(lambda cluster: _nodes(boot, cluster), all_or_nothing=True)

    def connect(cluster: str) -> None:
        near = [
            node
            for other in boot.scenario.clusters
            if boot.scenario.same_network(cluster, other.name)
            for node in nodes[other.name]
        ]
        others: list[IPNetwork] = [
            addresses.clusters[other.name].pod_cidr
            for other in boot.scenario.clusters
            if not boot.scenario.same_network(cluster, other.name)
        ]
        own = addresses.clusters[cluster].pod_cidr
        for node in nodes[cluster]:
            for command in (
                *configuration.routes(node, near),
                *configuration.filters(own, others),
            ):
                boot.engine.execute(node.container, *command)

    boot.on_every_cluster(connect, all_or_nothing=True)
    boot.merge_kubeconfigs()
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


def _nodes(boot: KindBoot, cluster: str) -> list[NodeNetwork]:
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
