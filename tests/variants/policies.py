"""Meshes that are hardened as Istio recommends: encrypted only, and nothing allowed by default.

Source: Istio, Security Best Practices; PeerAuthentication; Authorization Policy (allow-nothing);
MeshConfig (outboundTrafficPolicy); Sidecar; External Authorization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

from mesh_fixtures.contract import RUN_NAMESPACES
from mesh_fixtures.install import names
from tests.faults import mesh_configuration
from tests.faults.policies import applied, policy
from tests.faults.target import Manifest, Target
from tests.faults.topologies import REMOTE, TWO_NETWORKS
from tests.variants.gateways import further_namespace
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE


ENCRYPTED_ONLY: Final = policy("security", "PeerAuthentication", "default", mtls={"mode": "STRICT"})
ALLOW_NOTHING: Final = policy("security", "AuthorizationPolicy", "allow-nothing")
GATEWAYS_ALLOWED: Final = policy(
    "security",
    "AuthorizationPolicy",
    "allow-gateways",
    selector={"matchLabels": {"istio": "eastwestgateway"}},
    rules=[{}],
)
"""Remotes reach istiod through their primary's gateway, which policies hold for; what it passes to
services by their names they do not (Istio: Gateway, AUTO_PASSTHROUGH)."""

OWN_NAMESPACE_ONLY: Final = policy(
    "networking", "Sidecar", "default", egress=[{"hosts": ["./*", f"{_SYSTEM}/*"]}]
)
TOKENS_ONLY: Final = policy(
    "security",
    "AuthorizationPolicy",
    "tokens-only",
    action="DENY",
    rules=[{"from": [{"source": {"notRequestPrincipals": ["*"]}}]}],
)
CONTROL_PLANE_ONLY: Final = policy(
    "networking", "Sidecar", "default", egress=[{"hosts": [f"{_SYSTEM}/*"]}]
)
EXPORTED_TO_NOBODY: Final = {
    "defaultServiceExportTo": ["."],
    "defaultDestinationRuleExportTo": ["."],
    "defaultVirtualServiceExportTo": ["."],
}
_AUTHORIZER: Final = "sign-in"
_AUTHORIZER_PORT: Final = 8000
_REFUSING: Final = f"""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

ThreadingHTTPServer(("", {_AUTHORIZER_PORT}), Refusing).serve_forever()
"""
_PROVIDER: Final = {
    "extensionProviders": [
        {
            "name": _AUTHORIZER,
            "envoyExtAuthzHttp": {
                "service": f"{_AUTHORIZER}.{_AUTHORIZER}.svc.cluster.local",
                "port": _AUTHORIZER_PORT,
            },
        }
    ]
}
DECIDED_ELSEWHERE: Final = policy(
    "security",
    "AuthorizationPolicy",
    "signed-in-only",
    action="CUSTOM",
    provider={"name": _AUTHORIZER},
    rules=[{}],
)
_ALWAYS: Final = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_BUCKET: Final = {"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "600s"}
_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions.filters"
_LIMITED: Final = policy(
    "networking",
    "EnvoyFilter",
    "rate-limit",
    configPatches=[
        {
            "applyTo": "HTTP_FILTER",
            "match": {
                "context": "SIDECAR_INBOUND",
                "listener": {
                    "filterChain": {
                        "filter": {"name": "envoy.filters.network.http_connection_manager"}
                    }
                },
            },
            "patch": {
                "operation": "INSERT_BEFORE",
                "value": {
                    "name": "envoy.filters.http.local_ratelimit",
                    "typed_config": {
                        "@type": f"{_EXTENSIONS}.http.local_ratelimit.v3.LocalRateLimit",
                        "stat_prefix": "rate_limit",
                        "token_bucket": _BUCKET,
                        "filter_enabled": _ALWAYS,
                        "filter_enforced": _ALWAYS,
                    },
                },
            },
        }
    ],
)
RATE_LIMIT: Final = {**_LIMITED, "apiVersion": "networking.istio.io/v1alpha3"}
_ROOT: Final = "istio-config"
REGISTERED_ONLY: Final = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}


@contextmanager
def hardened(target: Target) -> Iterator[None]:
    """Only mutual TLS, only known destinations, and each namespace sees its own services."""
    with (
        _in_primaries(target, ENCRYPTED_ONLY, OWN_NAMESPACE_ONLY),
        mesh_configuration.changed(target, REGISTERED_ONLY),
    ):
        yield


@contextmanager
def nothing_allowed(target: Target) -> Iterator[None]:
    """No request is allowed but those that a policy of a namespace allows."""
    with _in_primaries(target, ENCRYPTED_ONLY, GATEWAYS_ALLOWED, ALLOW_NOTHING):
        yield


@contextmanager
def nothing_allowed_by_another_root(target: Target) -> Iterator[None]:
    """The same by policies of a namespace that is the root of configuration, in place of that of
    the control plane (Istio: MeshConfig, rootNamespace).
    """
    clusters = [each.name for each in target.scenario.primaries]
    with ExitStack() as stack:
        for cluster in clusters:
            stack.enter_context(further_namespace(target, cluster, _ROOT))
        for each in (
            mesh_configuration.changed(target, {"rootNamespace": _ROOT}),
            applied(target, clusters, ENCRYPTED_ONLY, ALLOW_NOTHING, namespace=_ROOT),
            _in_primaries(target, GATEWAYS_ALLOWED),
        ):
            stack.enter_context(each)
        yield


@contextmanager
def nothing_known(target: Target) -> Iterator[None]:
    """Services are known in their own namespace unless they are exported, and proxies know nothing
    but the control plane unless their namespace says otherwise.
    """
    with (
        _in_primaries(target, CONTROL_PLANE_ONLY),
        mesh_configuration.changed(target, EXPORTED_TO_NOBODY),
    ):
        yield


@contextmanager
def tokens_only(target: Target) -> Iterator[None]:
    """Requests without a user's token are refused everywhere, which no other policy can undo."""
    with _in_primaries(target, TOKENS_ONLY):
        yield


@contextmanager
def decided_elsewhere(target: Target) -> Iterator[None]:
    """An external authorizer decides on every request, and refuses those of users whom it does not
    know.
    """
    clusters = [each.name for each in target.scenario.primaries]
    image = target.lab.images.helloworld["v1"]
    with ExitStack() as stack:
        for cluster in clusters:
            stack.enter_context(further_namespace(target, cluster, _AUTHORIZER))
            target.apply(cluster, _AUTHORIZER, *_authorizer(image))
            target.await_rollout(cluster, _AUTHORIZER, _AUTHORIZER)
        stack.enter_context(mesh_configuration.changed(target, _PROVIDER))
        stack.enter_context(_in_primaries(target, DECIDED_ELSEWHERE))
        yield


@contextmanager
def rate_limited(target: Target) -> Iterator[None]:
    """Every proxy passes no more than some requests a minute on to its workload."""
    with _in_primaries(target, RATE_LIMIT):
        yield


def _authorizer(image: str) -> Sequence[Manifest]:
    """A server that answers every request by 401, and its Service."""
    labels = {"app": _AUTHORIZER}
    container = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _REFUSING],
        "readinessProbe": {"tcpSocket": {"port": _AUTHORIZER_PORT}, "periodSeconds": 1},
    }
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": _AUTHORIZER},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": _AUTHORIZER},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": _AUTHORIZER_PORT}]},
        },
    )


def _in_primaries(target: Target, *policies: Manifest) -> AbstractContextManager[None]:
    clusters = [each.name for each in target.scenario.primaries]
    return applied(target, clusters, *policies, namespace=_SYSTEM)


VARIANTS: Final = (
    Variant(
        id="hardened-mesh",
        mesh="Only mutual TLS, only registered destinations, and each namespace sees its own "
        "services and those of the control plane.",
        topology=TWO_NETWORKS,
        make=hardened,
    ),
    Variant(
        id="nothing-allowed-by-default",
        mesh="No request is allowed in the mesh but those that a policy of a namespace allows.",
        topology=TWO_NETWORKS,
        make=nothing_allowed,
        notes=("requests are allowed here in spite of AuthorizationPolicy istio-system/",),
    ),
    Variant(
        id="nothing-allowed-by-another-root",
        mesh="The same by policies of a root namespace that is not the control plane's.",
        topology=TWO_NETWORKS,
        make=nothing_allowed_by_another_root,
        notes=(f"requests are allowed here in spite of AuthorizationPolicy {_ROOT}/",),
    ),
    Variant(
        id="tokens-only",
        mesh="Requests without a token of a user are refused in the whole mesh.",
        topology=TWO_NETWORKS,
        make=tokens_only,
        hindrances=("AuthorizationPolicy istio-system/tokens-only", "notNamespaces"),
    ),
    Variant(
        id="decided-by-an-authorizer",
        mesh="An external authorizer decides on all requests, and refuses users whom it does not "
        "know.",
        topology=TWO_NETWORKS,
        make=decided_elsewhere,
        hindrances=(
            "the authorizer sign-in of AuthorizationPolicy istio-system/signed-in-only refuses it",
            "permit requests to namespaces mesh-conformance-*",
        ),
    ),
    Variant(
        id="requests-limited",
        mesh="Proxies let no more than some requests within ten minutes pass to a workload.",
        topology=TWO_NETWORKS,
        make=rate_limited,
        inconclusive=("TRAFFIC-1", "TRAFFIC-2", "TRAFFIC-3", "SECURITY-1", "AUTHZ-1"),
        notes=("the mesh limits them", f"except namespaces {RUN_NAMESPACES} from the limit"),
    ),
    Variant(
        id="nothing-known-by-default",
        mesh="Services are exported to their own namespace only, and proxies know those of the "
        "control plane only, unless a namespace says otherwise.",
        topology=TWO_NETWORKS,
        make=nothing_known,
        notes=("services are known here in spite of Sidecar istio-system/default",),
    ),
    Variant(
        id="nothing-allowed-in-a-remote",
        mesh="The same where a remote's proxies are configured by their primary.",
        topology=REMOTE,
        make=nothing_allowed,
    ),
)
