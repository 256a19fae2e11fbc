"""How proxies connect to each other and to istiod, where it is not as the guide leaves it.

Source: Istio, Global Mesh Options (MeshConfig, ProxyConfig); pilot-discovery and pilot-agent
(environment variables).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.install.method import merged
from tests.faults import mesh_configuration
from tests.faults.control_planes import MESH
from tests.faults.fault import Injection
from tests.faults.policies import applied, policy
from tests.faults.target import Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE

BY_RULE: Final = policy(
    "networking",
    "DestinationRule",
    "mutual-tls",
    host="*.local",
    trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL"}},
)


def proxies_with(**settings: Any) -> Injection:
    """The mesh configurations give all proxies some settings; gateways are started with them."""

    @contextmanager
    def make(target: Target) -> Iterator[None]:
        clusters = [each.name for each in target.scenario.primaries]
        # All are installed with the same ones.
        found = target.read(clusters[0], _SYSTEM, "configmap", MESH)
        before = yaml.safe_load(found["data"]["mesh"]).get("defaultConfig") or {}

        def gateways_started() -> None:
            for cluster in clusters:
                target.restart(cluster, (_SYSTEM, names.GATEWAY))

        try:
            with mesh_configuration.changed(target, {"defaultConfig": merged(before, settings)}):
                gateways_started()
                yield
        finally:
            gateways_started()

    return make


@contextmanager
def encrypted_by_rule(target: Target) -> Iterator[None]:
    """Clients use mutual TLS because a DestinationRule says so, and not by themselves."""
    clusters = [each.name for each in target.scenario.primaries]
    with (
        applied(target, clusters, BY_RULE, namespace=_SYSTEM),
        mesh_configuration.changed(target, {"enableAutoMtls": False}),
    ):
        yield


AT_LENGTH: Final = {
    "accessLogFile": "/dev/stdout",
    "accessLogEncoding": "JSON",
    "connectTimeout": "2s",
    "defaultHttpRetryPolicy": {"attempts": 0},
    "enablePrometheusMerge": False,
    "inboundClusterStatName": "in_%SERVICE%_%SERVICE_PORT%",
    "outboundClusterStatName": "out_%SERVICE_FQDN%_%SERVICE_PORT_NAME%",
    "localityLbSetting": {"enabled": False},
    "meshMTLS": {"minProtocolVersion": "TLSV1_3"},
    "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    "protocolDetectionTimeout": "1s",
    "tcpKeepalive": {"time": "60s", "interval": "10s", "probes": 3},
}
"""Settings of a mesh that many have, each by itself harmless."""

OF_PROXIES_AT_LENGTH: Final = {
    "concurrency": 1,
    "drainDuration": "10s",
    "holdApplicationUntilProxyStarts": True,
    "proxyStatsMatcher": {"inclusionPrefixes": ["cluster_manager"]},
    "gatewayTopology": {"numTrustedProxies": 2},
    "extraStatTags": ["destination_port"],
    "proxyMetadata": {
        "ISTIO_META_HTTP10": "1",
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true",
        "MINIMUM_DRAIN_DURATION": "1s",
    },
}
"""The same of all proxies."""

VARIANTS: Final = (
    Variant(
        id="configured-at-length",
        mesh="The mesh configuration says much: of statistics, logs, timeouts, retries and TLS.",
        topology=TWO_NETWORKS,
        make=partial(mesh_configuration.changed, settings=AT_LENGTH),
    ),
    Variant(
        id="proxies-configured-at-length",
        mesh="Proxies have settings of their own: of threads, ports, statistics and their end.",
        topology=TWO_NETWORKS,
        make=proxies_with(**OF_PROXIES_AT_LENGTH),
    ),
    Variant(
        id="http2-between-proxies",
        mesh="Proxies send HTTP/1.1 to each other as HTTP/2.",
        topology=TWO_NETWORKS,
        make=partial(mesh_configuration.changed, settings={"h2UpgradePolicy": "UPGRADE"}),
    ),
    Variant(
        id="whole-configuration",
        mesh="Proxies ask istiod for all of their configuration at each change.",
        topology=TWO_NETWORKS,
        make=proxies_with(proxyMetadata={"ISTIO_DELTA_XDS": "false"}),
    ),
    Variant(
        id="mutual-tls-by-rule",
        mesh="Clients use mutual TLS by a DestinationRule, and not by themselves.",
        topology=TWO_NETWORKS,
        make=encrypted_by_rule,
    ),
    Variant(
        id="elliptic-and-short-lived",
        mesh="Proxies have elliptic keys, and certificates that last for an hour.",
        topology=TWO_NETWORKS,
        make=proxies_with(proxyMetadata={"ECC_SIGNATURE_ALGORITHM": "ECDSA", "SECRET_TTL": "1h"}),
    ),
    Variant(
        id="nothing-told-by-headers",
        mesh="Proxies tell nobody by headers who asks, by which proxy and under which number.",
        topology=TWO_NETWORKS,
        make=proxies_with(
            proxyHeaders={
                "forwardedClientCert": "SANITIZE",
                "server": {"disabled": True},
                "requestId": {"disabled": True},
                "attemptCount": {"disabled": True},
                "envoyDebugHeaders": {"disabled": True},
            }
        ),
    ),
    Variant(
        id="admin-interface-at-another-port",
        mesh="The admin interface of all proxies is at another port, and they start before their "
        "applications.",
        topology=TWO_NETWORKS,
        make=proxies_with(proxyAdminPort=15900, holdApplicationUntilProxyStarts=True),
    ),
    Variant(
        id="clients-with-their-addresses",
        mesh="Proxies intercept requests by TPROXY.",
        topology=TWO_NETWORKS,
        make=proxies_with(interceptionMode="TPROXY"),
    ),
)
