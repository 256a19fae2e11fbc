"""Faults of configuration that a mesh is given besides the guide's: security and traffic policies.

Source: Istio, reference of PeerAuthentication, DestinationRule, AuthorizationPolicy and
VirtualService. Short host names are services of the policy's own namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import SERVICE
from tests.faults.fault import Injection
from tests.faults.target import Manifest, Target, reference


def _policy(group: str, kind: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "fault"},
        "spec": spec,
    }


def _rule(**spec: Any) -> Manifest:
    return _policy("networking", "DestinationRule", host=SERVICE, **spec)


_NEAR: Final = 95
_FAR: Final = 5
"""Percent of the requests, where there are two regions."""

NO_MUTUAL_TLS: Final = _policy("security", "PeerAuthentication", mtls={"mode": "DISABLE"})
NO_CLIENT_TLS: Final = _rule(trafficPolicy={"tls": {"mode": "DISABLE"}})

NOBODY_ALLOWED: Final = _policy(
    "security", "AuthorizationPolicy", selector={"matchLabels": {"app": "helloworld"}}
)
"""A policy without rules allows nobody (Istio: AuthorizationPolicy)."""

ABORTED: Final = _policy(
    "networking",
    "VirtualService",
    hosts=[SERVICE],
    http=[
        {
            "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 50}}},
            "route": [{"destination": {"host": SERVICE}}],
        }
    ],
)
"""One in two requests is answered with an error by the client's own proxy (Istio:
HTTPFaultInjection)."""

OWN_NAMESPACE_LEFT_OUT: Final = _policy(
    "networking", "Sidecar", egress=[{"hosts": ["istio-system/*"]}]
)
"""Proxies of the namespace get nothing of the services in it (Istio: Sidecar)."""


def in_all_primaries(policy: Manifest) -> Injection:
    """A policy of the workloads' namespace, in every cluster that an istiod reads policies of."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        with _applied(target, _primaries(target.scenario), policy):
            yield

    return inject


def in_last_primary(policy: Manifest) -> Injection:
    """A policy of the workloads' namespace, for the proxies of the last primary."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        with _applied(target, _primaries(target.scenario)[-1:], policy):
            yield

    return inject


def in_first_primary(policy: Manifest) -> Injection:
    """A policy of the workloads' namespace, for the proxies of the first primary."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        with _applied(target, _primaries(target.scenario)[:1], policy):
            yield

    return inject


@contextmanager
def mostly_near(target: Target) -> Iterator[None]:
    """Nineteen of twenty requests stay in their client's region, whoever answers there."""
    rule = mostly_near_rule(target.scenario)
    with _applied(target, _primaries(target.scenario), rule):
        yield


def mostly_near_rule(scenario: Scenario) -> Manifest:
    """A rule by which localities have weights (Istio: Locality weighted distribution).

    The labs' regions are the networks.
    """
    regions = [each.name for each in scenario.networks]
    distribute = [
        {
            "from": f"{own}/*",
            "to": {f"{each}/*": _NEAR if each == own else _FAR for each in regions},
        }
        for own in regions
    ]
    setting = {"enabled": True, "distribute": distribute}
    return _rule(trafficPolicy={"loadBalancer": {"localityLbSetting": setting}})


def weighted(first: int, last: int) -> Injection:
    """The first cluster's version of HelloWorld and the last one's get fixed shares of all
    requests, in percent.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        policies = weights(target.scenario, first, last)
        with _applied(target, _primaries(target.scenario), *policies):
            yield

    return inject


def weights(scenario: Scenario, first: int, last: int) -> tuple[Manifest, ...]:
    """A subset for each version of HelloWorld, of which the first and the last get shares."""
    versions = list(dict.fromkeys(cluster.helloworld for cluster in scenario.clusters))
    shares = [first, *[0] * (len(versions) - 2), last]
    routes = [
        {"destination": {"host": SERVICE, "subset": version}, "weight": share}
        for version, share in zip(versions, shares, strict=True)
    ]
    return (
        _rule(subsets=[{"name": each, "labels": {"version": each}} for each in versions]),
        _policy("networking", "VirtualService", hosts=[SERVICE], http=[{"route": routes}]),
    )


def _primaries(scenario: Scenario) -> list[str]:
    return [cluster.name for cluster in scenario.primaries]


@contextmanager
def _applied(target: Target, clusters: Sequence[str], *policies: Manifest) -> Iterator[None]:
    try:
        for cluster in clusters:
            target.apply(cluster, target.namespace, *policies)
        yield
    finally:
        for cluster in clusters:
            target.delete(cluster, target.namespace, *map(reference, policies))
