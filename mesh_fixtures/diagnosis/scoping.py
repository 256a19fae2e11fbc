"""Which findings a cause can explain: those about its clusters, addresses and objects.

A requirement may fail in several places, for as many reasons. What a cause says of one cluster's
gateway explains nothing that was seen of another's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from mesh_fixtures.diagnosis.cause import Cause, Layer, Reach
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding

_BY_PRIMARY: Final = frozenset(Layer) - {
    Layer.ATTACHMENT,
    Layer.ACCESS,
    Layer.NETWORK,
    Layer.INJECTION,
    Layer.WORKLOAD,
}
"""Layers in which a primary's fault is one of its remotes as well: its istiod signs for them,
configures them, and is reached through its gateways."""


def explains(cause: Cause, finding: Finding, scenario: Scenario) -> bool:
    """Whether a finding can be due to a cause, as far as both say what they are about."""
    return (
        _share(cause.about.addresses, finding.about.addresses)
        and _share(cause.about.objects, finding.about.objects)
        and _share(cause.about.clients, (*finding.clients, *finding.about.clusters))
        and _is_reached(cause, finding, scenario)
    )


def _share(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two subjects can be the same; one of which nothing is said can be any."""
    return not one or not other or bool({*one} & {*other})


def _is_reached(cause: Cause, finding: Finding, scenario: Scenario) -> bool:
    clients, servers = {*finding.clients}, {*finding.about.clusters}
    if cause.kind.layer in _BY_PRIMARY:
        clients |= _primaries(clients, scenario)
        servers |= _primaries(clients | servers, scenario) if servers else set()
    concerned = {*cause.concerned}
    anywhere = not servers
    match cause.kind.reaching:
        case Reach.SERVERS:
            return anywhere or bool(concerned & servers)
        case Reach.CLIENTS:
            return bool(concerned & clients)
        case Reach.INVOLVED:
            return anywhere or bool(concerned & (clients | servers))
        case Reach.BETWEEN:
            return bool(concerned & clients) if anywhere else concerned <= clients | servers
        case Reach.READING:
            return _is_read(cause, finding, scenario)


def _is_read(cause: Cause, finding: Finding, scenario: Scenario) -> bool:
    """An istiod tells the proxies that it configures what it reads in other clusters; those in a
    remote get nothing from an istiod that does not read it.
    """
    reader, *others = cause.concerned
    unread = {*others} - {reader}
    servers = {*finding.about.clusters}
    configured = {reader} == {_primary(each, scenario) for each in finding.clients}
    unattached = {each for each in unread if _primary(each, scenario) == reader}
    if unattached & ({*finding.clients} | servers):
        return True
    return configured and (not servers or bool(unread & servers))


def _primaries(clusters: Iterable[str], scenario: Scenario) -> set[str]:
    """The primaries of remotes among these clusters."""
    return {_primary(each, scenario) for each in clusters if _primary(each, scenario) != each}


def _primary(cluster: str, scenario: Scenario) -> str:
    known = {each.name for each in scenario.clusters}
    return scenario.control_plane_of(cluster) if cluster in known else cluster
