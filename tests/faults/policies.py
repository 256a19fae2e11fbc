"""Faults of configuration that a mesh is given besides the guide's: security and traffic policies.

Source: Istio, reference of PeerAuthentication, DestinationRule, AuthorizationPolicy and
VirtualService. Short host names are services of the policy's own namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import SERVICE, permission_manifest
from tests.faults.fault import Injection
from tests.faults.target import Manifest, Target, reference


def policy(group: str, kind: str, name: str = "fault", **spec: Any) -> Manifest:
    return {
        "apiVersion": f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def _rule(**spec: Any) -> Manifest:
    return policy("networking", "DestinationRule", host=SERVICE, **spec)


NO_MUTUAL_TLS: Final = policy("security", "PeerAuthentication", mtls={"mode": "DISABLE"})
NO_CLIENT_TLS: Final = _rule(trafficPolicy={"tls": {"mode": "DISABLE"}})

NOBODY_ALLOWED: Final = policy(
    "security", "AuthorizationPolicy", selector={"matchLabels": {"app": "helloworld"}}
)
"""A policy without rules allows nobody (Istio: AuthorizationPolicy)."""

NOTHING_ALLOWED: Final = policy("security", "AuthorizationPolicy", "allow-nothing")
"""Of the root namespace, it is a default for all proxies (Istio: Security Best Practices)."""

EVERYBODY_ALLOWED: Final[Manifest] = yaml.safe_load(permission_manifest())

ABORTED: Final = policy(
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

ANSWERED_BY_ROUTE: Final = policy(
    "networking", "VirtualService", hosts=["*.local"], http=[{"directResponse": {"status": 404}}]
)
"""Clients' own proxies answer for all services (Istio: HTTPDirectResponse)."""

OWN_NAMESPACE_LEFT_OUT: Final = policy(
    "networking", "Sidecar", egress=[{"hosts": ["istio-system/*"]}]
)
"""Proxies of the namespace get nothing of the services in it; Istio's own example names `./*` too
(Istio: Sidecar)."""


BROKEN_SCRIPT: Final = {
    **policy(
        "networking",
        "EnvoyFilter",
        configPatches=[
            {
                "applyTo": "HTTP_FILTER",
                "match": {"context": "SIDECAR_INBOUND"},
                "patch": {
                    "operation": "INSERT_FIRST",
                    "value": {
                        "name": "envoy.filters.http.lua",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                            "default_source_code": {
                                "inline_string": "function envoy_on_request(handle)\n"
                                '  handle:headers():add("x-seen-by", "mesh"\n'
                                "end\n"
                            },
                        },
                    },
                },
            }
        ],
    ),
    "apiVersion": "networking.istio.io/v1alpha3",
}
"""A script with a parenthesis that is never closed: istiod passes it on, and proxies refuse it
(Envoy: Lua filter)."""


NOBODY_GIVEN_UP: Final = {
    **policy(
        "networking",
        "EnvoyFilter",
        configPatches=[
            {
                "applyTo": "CLUSTER",
                "match": {"context": "SIDECAR_OUTBOUND"},
                "patch": {
                    "operation": "MERGE",
                    "value": {"outlier_detection": {"consecutive_5xx": 1_000_000}},
                },
            }
        ],
    ),
    "apiVersion": "networking.istio.io/v1alpha3",
}
"""Clients go on asking a server that answers with errors (Envoy: Outlier detection)."""


def in_all_primaries(policy: Manifest) -> Injection:
    """A policy of the workloads' namespace, in every cluster that an istiod reads policies of."""
    return _in_primaries(policy, slice(None))


def of_whole_mesh(policy: Manifest) -> Injection:
    """A policy of the root namespace, in every cluster that an istiod reads policies of."""
    return _in_primaries(policy, slice(None), namespace=names.SYSTEM_NAMESPACE)


def in_last_primary(policy: Manifest) -> Injection:
    """A policy of the workloads' namespace, for the proxies of the last primary."""
    return _in_primaries(policy, slice(-1, None))


def in_first_primary(policy: Manifest) -> Injection:
    """A policy of the workloads' namespace, for the proxies of the first primary."""
    return _in_primaries(policy, slice(1))


def _in_primaries(policy: Manifest, chosen: slice, *, namespace: str = "") -> Injection:
    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        clusters = _primaries(target.scenario)[chosen]
        with applied(target, clusters, policy, namespace=namespace):
            yield

    return inject


@contextmanager
def istiod_denied(target: Target) -> Iterator[None]:
    """The primary of a remote allows nothing by default, and its workloads everything: what it has
    forgotten is its gateway, through which new proxies of the remote look for istiod.
    """
    scenario, remote = target.scenario, target.scenario.remotes[-1].name
    primary = scenario.control_plane_of(remote)
    try:
        with (
            applied(target, [scenario.config_cluster_of(primary)], EVERYBODY_ALLOWED),
            applied(target, [primary], NOTHING_ALLOWED, namespace=names.SYSTEM_NAMESPACE),
        ):
            target.replace_workloads(remote)
            yield
    finally:
        target.restart_workloads(remote)


def weighted(first: int, last: int) -> Injection:
    """The first cluster's version of HelloWorld and the last one's get fixed shares of all
    requests, in percent.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        policies = weights(target.scenario, first, last)
        with applied(target, _primaries(target.scenario), *policies):
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
        policy("networking", "VirtualService", hosts=[SERVICE], http=[{"route": routes}]),
    )


def _primaries(scenario: Scenario) -> list[str]:
    return [cluster.name for cluster in scenario.primaries]


@contextmanager
def applied(
    target: Target, clusters: Sequence[str], *policies: Manifest, namespace: str = ""
) -> Iterator[None]:
    """Policies that some clusters have meanwhile.

    Args:
        namespace: that of the workloads when empty.
    """
    where = namespace or target.namespace
    try:
        for cluster in clusters:
            target.apply(cluster, where, *policies)
        yield
    finally:
        for cluster in clusters:
            target.delete(cluster, where, *map(reference, policies))
