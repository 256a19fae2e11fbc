"""Clusters of a mesh: what they are called, and which of them are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.exposure import services_manifest
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.step import Plan
from mesh_fixtures.scenario import ClusterSpec, NetworkSpec, Scenario
from tests.faults import underlay
from tests.faults.target import Target, references
from tests.faults.topologies import ONE_NETWORK, THREE_CLUSTERS, TWO_NETWORKS
from tests.variants.reinstallation import (
    in_variables_of,
    installed_again,
    proxied,
    rewritten,
    without_gateway,
)
from tests.variants.variant import Variant, as_it_is

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_LONG_NAME: Final = "cn-my-company-production-europe-west1-payments-cluster-a"
_NETWORK: Final = "eu.prod"
_MESH: Final = "acme_prod"


@contextmanager
def renamed(target: Target) -> Iterator[None]:
    """The first cluster, its network and the mesh have names that no lab could give."""
    scenario = with_other_names(target.scenario)
    clusters = {
        new.name: own.name
        for own, new in zip(target.scenario.clusters, scenario.clusters, strict=True)
    }
    of = plan(scenario, target.lab.images, target.lab.charts)
    try:
        installed_again(target, scenario, in_variables_of(of, clusters))
        yield
    finally:
        installed_again(target, target.scenario, target.installation)


@contextmanager
def without_networks(target: Target) -> Iterator[None]:
    """Nothing says of which network the clusters are: there is but one, and it has no name."""
    steps = [ids.istiod(each.name) for each in target.scenario.primaries]
    networks = {each.name: each.network for each in target.scenario.clusters}

    def installed(of: Plan) -> None:
        target.run_steps(of, *steps)
        for name in networks:
            target.restart(name, *proxied(target, name))

    try:
        for name in networks:
            target.kubectl(name, "label", "namespace", _SYSTEM, f"{names.NETWORK_LABEL}-")
        installed(without_names_of_networks(target.installation))
        yield
    finally:
        for name, network in networks.items():
            again = f"{names.NETWORK_LABEL}={network}"
            target.kubectl(name, "label", "namespace", _SYSTEM, "--overwrite", again)
        installed(target.installation)


def without_names_of_networks(of: Plan) -> Plan:
    """The plan whose values leave out `global.network`."""

    def text(given: str) -> str:
        return re.sub(r"^ *network: .*\n", "", given, flags=re.MULTILINE)

    return replace(of, steps=tuple(rewritten(step, text) for step in of.steps))


def with_other_names(scenario: Scenario) -> Scenario:
    """The scenario with other names of its first cluster, its first network and its mesh."""
    (_network, *networks), (cluster, *clusters) = scenario.networks, scenario.clusters
    first = cluster.model_copy(update={"name": _LONG_NAME, "network": _NETWORK})
    return Scenario(
        id=scenario.id,
        title=scenario.title,
        mesh=_MESH,
        networks=(NetworkSpec(name=_NETWORK), *networks),
        clusters=(ClusterSpec.model_validate(first), *clusters),
    )


@contextmanager
def routed_without_gateways(target: Target) -> Iterator[None]:
    """Pods are routed between the networks, as in peered ones; no cluster has a gateway, nor what
    passes services on by one.
    """
    clusters = [each.name for each in target.scenario.clusters]
    with underlay.not_isolated(target):
        try:
            for name in clusters:
                target.delete(name, _SYSTEM, *references(services_manifest()))
                without_gateway(target, name)
            yield
        finally:
            steps = (ids.gateway, ids.gateway_address, ids.expose_services)
            target.run_steps(
                target.installation, *(each(name) for each in steps for name in clusters)
            )


VARIANTS: Final = (
    Variant(
        id="networks-without-a-name",
        mesh="The one network has no name.",
        topology=ONE_NETWORK,
        make=without_networks,
    ),
    Variant(
        id="by-revision",
        mesh="Everything is installed by a revision, and nothing is the default.",
        topology="primary-remote-multi-network-revision",
        make=as_it_is,
    ),
    Variant(
        id="two-remotes",
        mesh="One primary has two remotes, on networks of their own.",
        topology="two-remotes-two-networks",
        make=as_it_is,
    ),
    Variant(
        id="remote-and-primary",
        mesh="A primary, its remote, and another primary on another network.",
        topology="primary-remote-and-primary",
        make=as_it_is,
    ),
    Variant(
        id="same-addresses",
        mesh="Pods and services of both clusters have the same addresses, as where each was made "
        "with the defaults of its installer.",
        topology="multi-primary-multi-network-same-addresses",
        make=as_it_is,
    ),
    Variant(
        id="addresses-of-ipv6",
        mesh="Nodes, pods and services have addresses of IPv6 only.",
        topology="primary-remote-ipv6",
        make=as_it_is,
    ),
    Variant(
        id="addresses-of-both-families",
        mesh="Nodes, pods and services have addresses of IPv4 and IPv6.",
        topology="multi-primary-multi-network-dual-stack",
        make=as_it_is,
    ),
    Variant(
        id="routed-networks",
        mesh="The clusters' networks have two names and gateways, and are routed nevertheless.",
        topology=TWO_NETWORKS,
        make=underlay.not_isolated,
        notes=("NETWORK-1: pods of cluster1 reach those of cluster2 past its gateways",),
        provider=underlay.PROVIDER,
    ),
    Variant(
        id="routed-networks-without-gateways",
        mesh="Each cluster is on a network of its own name without a gateway; pods are routed.",
        topology=TWO_NETWORKS,
        make=routed_without_gateways,
        notes=(
            "GATEWAY-1: istiod advertises no gateway of network1: clients on other networks reach",
            "TRAFFIC-3: network2 has no gateway for requests to pass through",
            "pods of cluster1 reach those of cluster2 past its gateways, too",
        ),
        provider=underlay.PROVIDER,
    ),
    Variant(
        id="cluster-that-was-not-given",
        mesh="A third cluster belongs to the mesh, on the network of one of the two that are "
        "given.",
        topology=THREE_CLUSTERS,
        make=as_it_is,
        names={"cluster1": "cluster1", "cluster3": "cluster3"},
        notes=("reads cluster2: no cluster of this name was given",),
    ),
    Variant(
        id="names-that-no-lab-could-give",
        mesh="The name of a cluster has 56 characters, that of its network a dot, and that of the "
        "mesh an underscore.",
        topology=TWO_NETWORKS,
        make=renamed,
        names={"cluster1": _LONG_NAME, "cluster2": "cluster2"},
    ),
)
