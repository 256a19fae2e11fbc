"""An external control plane whose gateway ends TLS, with a certificate of its own, as Istio's guide
has it first: clients' certificates do not reach istiod then.

Where the guide has a host name and an authority that everybody trusts, this has an address and the
mesh's authority, which proxies and webhooks trust without being told.
Source: Istio, Install Istio with an External Control Plane.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mesh_fixtures.certificates import SERVER, Credential, elliptic_key, leaf, subject
from mesh_fixtures.contract import EXTERNAL_NAMESPACE
from mesh_fixtures.install import ids, names
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.install.exposure import ISTIOD_PORT_NAMES, ISTIOD_SERVICE_PORTS
from mesh_fixtures.install.external import INGRESS
from mesh_fixtures.kube.objects import encoded
from mesh_fixtures.kube.resources import SERVICES
from tests.faults.policies import policy
from tests.faults.target import Manifest, Target, reference
from tests.faults.topologies import EXTERNAL
from tests.variants.variant import Variant

_GATEWAY: Final = "external-istiod-gw"
_ROUTES: Final = "external-istiod-vs"
_CREDENTIAL: Final = "external-istiod-credential"
_LIFETIME: Final = timedelta(days=30)
_ISTIOD: Final = f"istiod.{EXTERNAL_NAMESPACE}.svc"
_HOST: Final = f"{_ISTIOD}.cluster.local"


@contextmanager
def ending_tls(target: Target) -> Iterator[None]:
    """The gateway of an external istiod ends TLS and opens another connection to istiod."""
    assert target.scenario.external is not None
    cluster = target.scenario.external.name
    ingress = (names.SYSTEM_NAMESPACE, INGRESS)
    credential = _credential(target, cluster)
    rule = _rule()
    try:
        target.apply(cluster, names.SYSTEM_NAMESPACE, credential)
        target.apply(cluster, EXTERNAL_NAMESPACE, _gateway(), _routes(), rule)
        target.restart(cluster, ingress)
        yield
    finally:
        target.run_steps(target.installation, ids.expose_istiod(cluster))
        target.delete(cluster, EXTERNAL_NAMESPACE, reference(rule))
        target.delete(cluster, names.SYSTEM_NAMESPACE, reference(credential))
        target.restart(cluster, ingress)


def _credential(target: Target, cluster: str) -> Manifest:
    """A certificate for the gateway's address, and for the name by which webhooks ask for it."""
    service = target.kube[cluster].get(SERVICES, names.SYSTEM_NAMESPACE, INGRESS)
    assert service is not None
    (address,) = service.external
    data = target.read(cluster, EXTERNAL_NAMESPACE, "secret", CACERTS)["data"]
    files = {name: base64.b64decode(content) for name, content in data.items()}
    key: Any = load_pem_private_key(files["ca-key.pem"], None)
    issuer = Credential(x509.load_pem_x509_certificate(files["ca-cert.pem"]), key)
    made = leaf(
        subject("istiod's gateway"),
        elliptic_key(),
        _LIFETIME,
        issuer,
        usages=(SERVER,),
        names=[x509.IPAddress(ip_address(address)), x509.DNSName(_ISTIOD)],
    )
    chain = made.certificate_pem + files["cert-chain.pem"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _CREDENTIAL},
        "type": "kubernetes.io/tls",
        "data": encoded({"tls.crt": chain, "tls.key": made.key_pem}),
    }


def _gateway() -> Manifest:
    servers = [
        {
            "port": {"number": port, "protocol": "HTTPS", "name": name},
            "tls": {"mode": "SIMPLE", "credentialName": _CREDENTIAL},
            "hosts": ["*"],
        }
        for port, name in ISTIOD_PORT_NAMES.items()
    ]
    selector = {"istio": "ingressgateway"}
    return policy("networking", "Gateway", _GATEWAY, selector=selector, servers=servers)


def _routes() -> Manifest:
    routes = [
        {
            "match": [{"port": port}],
            "route": [{"destination": {"host": _HOST, "port": {"number": number}}}],
        }
        for port, number in ISTIOD_SERVICE_PORTS.items()
    ]
    return policy(
        "networking", "VirtualService", _ROUTES, hosts=["*"], gateways=[_GATEWAY], http=routes
    )


def _rule() -> Manifest:
    """The gateway takes whatever certificate istiod has, as the guide's earlier versions did."""
    tls = {"mode": "SIMPLE", "insecureSkipVerify": True}
    ports: list[dict[str, Any]] = [
        {"port": {"number": number}, "tls": tls} for number in ISTIOD_SERVICE_PORTS.values()
    ]
    ports[0]["connectionPool"] = {"http": {"h2UpgradePolicy": "UPGRADE"}}
    return policy(
        "networking",
        "DestinationRule",
        "external-istiod-dr",
        host=_HOST,
        trafficPolicy={"portLevelSettings": ports},
    )


VARIANTS: Final = (
    Variant(
        id="tls-ended-before-istiod",
        mesh="The gateway of an external control plane ends TLS, and passes requests on to istiod.",
        topology=EXTERNAL,
        make=ending_tls,
    ),
)
