"""Gateways at addresses that are not those of their Services, or of more than one family, and
Services that only look like gateways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.addresses import with_port
from mesh_fixtures.install import names
from mesh_fixtures.probe.gateways import advertised
from mesh_fixtures.scenario import SERVICES_PORT
from tests.faults import mesh_configuration, underlay
from tests.faults.target import Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.gateways import (
    await_address,
    further_namespace,
    helm_install,
    pull_policy,
    replace_service,
)
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_OF_IPV6: Final = "2001:db8::2"
"""An address for documentation, which leads nowhere (RFC 3849)."""


def _front(number: int) -> str:
    """An address for documentation (RFC 5737)."""
    return f"198.51.100.{number}"


def _addresses(target: Target) -> Mapping[str, str]:
    """Of the gateways' Services, by cluster."""
    return {
        each.name: await_address(target, each.name, _SYSTEM, names.GATEWAY)
        for each in target.scenario.clusters
    }


@contextmanager
def by_mesh_networks(target: Target) -> Iterator[None]:
    """Neither Services nor namespaces say of which network they are: the mesh configuration does,
    for gateways and pods alike.
    """
    with _mesh_networks(target, _addresses(target)):
        yield


@contextmanager
def behind_translated_addresses(target: Target) -> Iterator[None]:
    """As `by_mesh_networks`, by addresses that a router in front translates into the Services'."""
    services = _addresses(target)
    fronts = {cluster: _front(number) for number, cluster in enumerate(services, 1)}
    translated = {fronts[cluster]: address for cluster, address in services.items()}
    with underlay.translated(target, translated), _mesh_networks(target, fronts):
        for each in target.scenario.primaries:
            _await_advertised(target, each.name, {*fronts.values()})
        yield


@contextmanager
def _mesh_networks(target: Target, addresses: Mapping[str, str]) -> Iterator[None]:
    """The mesh configuration names the networks and their gateways, and no label does.

    Args:
        addresses: of the gateways, by cluster.
    """
    clusters = target.scenario.clusters
    labelled_objects = (f"service/{names.GATEWAY}", f"namespace/{_SYSTEM}")
    networks = {
        each.network: {
            "endpoints": [{"fromRegistry": each.name}],
            "gateways": [{"address": addresses[each.name], "port": SERVICES_PORT}],
        }
        for each in clusters
    }
    try:
        with mesh_configuration.changed(target, {"networks": networks}, "meshNetworks"):
            for each in clusters:
                for labelled in labelled_objects:
                    target.system(each.name, "label", labelled, f"{names.NETWORK_LABEL}-")
            yield
    finally:
        for each in clusters:
            again = f"{names.NETWORK_LABEL}={each.network}"
            for labelled in labelled_objects:
                target.system(each.name, "label", "--overwrite", labelled, again)


@contextmanager
def of_both_families(target: Target) -> Iterator[None]:
    """The last cluster's gateway has an address of IPv6, too, which no client of another network
    can use.
    """
    cluster = target.scenario.clusters[-1].name
    service = target.read(cluster, _SYSTEM, "service", names.GATEWAY)
    further = {**service, "spec": {**service["spec"], "externalIPs": [_OF_IPV6]}}
    both = {await_address(target, cluster, _SYSTEM, names.GATEWAY), _OF_IPV6}
    try:
        replace_service(target, cluster, further)
        for each in target.scenario.primaries:
            _await_advertised(target, each.name, both)
        yield
    finally:
        replace_service(target, cluster, service)


def _await_advertised(target: Target, primary: str, addresses: set[str]) -> None:
    target.until(
        f"istiod to advertise {', '.join(with_port(each, SERVICES_PORT) for each in addresses)}",
        primary,
        lambda kube: {each.address for each in advertised(kube)},
        lambda seen: addresses <= seen,
    )


@contextmanager
def with_labelled_ingress(target: Target) -> Iterator[None]:
    """The last cluster has a gateway for users, too, whose Helm release labels all with the
    network: istiod takes none for a gateway of a network that does not have its port.
    """
    cluster = target.scenario.clusters[-1]
    namespace, release = "ingress", "users"
    values = {
        "labels": {names.NETWORK_LABEL: cluster.network},
        "imagePullPolicy": pull_policy(target),
    }
    with further_namespace(target, cluster.name, namespace):
        helm_install(target, cluster.name, namespace, release, values)
        yield


VARIANTS: Final = (
    Variant(
        id="gateways-by-mesh-networks",
        mesh="The mesh configuration's meshNetworks name gateways and networks of pods; no label "
        "does.",
        topology=TWO_NETWORKS,
        make=by_mesh_networks,
    ),
    Variant(
        id="gateways-behind-translated-addresses",
        mesh="meshNetworks name addresses that a router in front of the networks translates into "
        "those of the gateways' Services.",
        topology=TWO_NETWORKS,
        make=behind_translated_addresses,
        applies=("TRAFFIC-3",),
        provider=underlay.PROVIDER,
    ),
    Variant(
        id="gateway-of-both-families",
        mesh="cluster2's gateway has an address of IPv6 besides that of IPv4, and clients have "
        "addresses of IPv4 only.",
        topology=TWO_NETWORKS,
        make=of_both_families,
    ),
    Variant(
        id="labelled-ingress-gateway",
        mesh="The Service of cluster2's ingress gateway has the label of the network, too, and not "
        "the port 15443.",
        topology=TWO_NETWORKS,
        make=with_labelled_ingress,
    ),
)
