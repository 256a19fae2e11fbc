"""Each rule finds its cause in facts of a real mesh that were changed by as much as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from diagnosis_recordings import recorded

from mesh_fixtures.contract import MeshNames
from mesh_fixtures.diagnosis import UNKNOWN, Diagnosis, Recording, diagnose
from mesh_fixtures.diagnosis.cause import Case
from mesh_fixtures.diagnosis.facts import GATEWAY as TO_GATEWAY
from mesh_fixtures.diagnosis.facts import (
    GATEWAY_POD,
    ISTIOD_TLS,
    Authority,
    Configuration,
    Deployment,
    Exchanged,
    Failed,
    Handshake,
    Injector,
    Istiod,
    LostServices,
    NetworkGateway,
    PacketSizes,
    Part,
    Path,
    Root,
    Served,
    ServicePort,
    SliceAddresses,
    Traffic,
    TrustDomains,
    WaitingProxy,
    WarningEvent,
)
from mesh_fixtures.diagnosis.rules import KINDS, cluster_health, connections
from mesh_fixtures.install.gateway_api import NAME_LABEL
from mesh_fixtures.install.names import GATEWAY_PORT_LABEL
from mesh_fixtures.kube import Meta
from mesh_fixtures.kube.admission import Selector, Webhook, WebhookConfiguration
from mesh_fixtures.kube.clock import Clock
from mesh_fixtures.probe.remote_secrets import RemoteSecret
from mesh_fixtures.probe.workloads import Redirection
from mesh_fixtures.requirements import REQUIREMENTS
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.workloads import NO_INJECTION

MULTI = "healthy-multi-primary-multi-network"
REMOTE = "healthy-primary-remote-multi-network"
SHARED = "healthy-multi-primary"

Change = Callable[[Recording], Recording]
POLICIES = "authorizationpolicies.security.istio.io"
REFUSING = {"action": "DENY", "rules": [{}]}
PLAIN = {"mtls": {"mode": "DISABLE"}}
PATIENT = {
    "configPatches": [
        {"applyTo": "CLUSTER", "patch": {"value": {"outlier_detection": {"consecutive_5xx": 1000}}}}
    ]
}
FINDING = Finding("cluster1", "something", "something else")
LOST = (LostServices("cluster1", "istiod-1", "cluster2", ("shop/cart", "shop/till"), "asked"),)
EVERYTHING = tuple(each.id for each in REQUIREMENTS)


def of(cluster: str, **fields: Any) -> Change:
    """Other values in the facts of a cluster; functions are applied to what is there."""

    def change(recording: Recording) -> Recording:
        known = recording.facts.clusters[cluster]
        values = {
            name: value(getattr(known, name)) if callable(value) else value
            for name, value in fields.items()
        }
        clusters = {**recording.facts.clusters, cluster: replace(known, **values)}
        return replace(recording, facts=replace(recording.facts, clusters=clusters))

    return change


def of_mesh(**fields: Any) -> Change:
    def change(recording: Recording) -> Recording:
        values = {
            name: value(getattr(recording.facts, name)) if callable(value) else value
            for name, value in fields.items()
        }
        return replace(recording, facts=replace(recording.facts, **values))

    return change


def both(*changes: Change) -> Change:
    def change(recording: Recording) -> Recording:
        for each in changes:
            recording = each(recording)
        return recording

    return change


def each(chosen: Callable[[Any], bool], /, **fields: Any) -> Callable[[Any], Any]:
    """Other values in those elements that are chosen."""

    def changed(element: Any) -> Any:
        values = {
            name: value(getattr(element, name)) if callable(value) else value
            for name, value in fields.items()
        }
        return replace(element, **values)

    return lambda known: tuple(changed(one) if chosen(one) else one for one in known)


def clocks(first: float, second: float) -> Change:
    """Clocks of cluster1 and cluster2, in seconds ahead of who asks."""
    return both(
        of("cluster1", clock=Clock(first, 0.6)),
        of("cluster2", clock=Clock(second, 0.6)),
    )


def valid(begins: float, ends: float) -> Change:
    """Certificates of all proxies of cluster1 and cluster2: seconds since the facts were read."""

    def change(recording: Recording) -> Recording:
        at = recording.facts.at
        proxies = each(is_any, validity=(at + begins, at + ends))
        return both(of("cluster1", proxies=proxies), of("cluster2", proxies=proxies))(recording)

    return change


def without(unwanted: Callable[[Any], bool]) -> Callable[[Any], Any]:
    return lambda known: tuple(one for one in known if not unwanted(one))


def named(name: str) -> Callable[[Any], bool]:
    return lambda one: bool(one.name.startswith(name))


def adding(*more: Any) -> Callable[[Any], Any]:
    return lambda known: (*(known or ()), *more)


def plus(labels: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    return lambda known: {**known, **labels}


def minus(*keys: str) -> Callable[[Mapping[str, str]], Mapping[str, str]]:
    return lambda known: {key: value for key, value in known.items() if key not in keys}


def configured(kind: str, name: str, spec: Any, namespace: str = "sample") -> Any:
    return adding(Configuration(kind, namespace, name, spec))


def routed(host: str, *http: Mapping[str, Any], namespace: str = "sample") -> Change:
    """A VirtualService of cluster1 for a host."""
    spec = {"hosts": [host], "http": [*http]}
    return of("cluster1", configuration=configured("VirtualService", "x", spec, namespace))


def isolated(cluster: str, namespace: str, *ingress: Any) -> Change:
    """A cluster with a NetworkPolicy for all pods of a namespace."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [*ingress]}
    policy = Configuration("NetworkPolicy", namespace, "closed", spec)
    return of(cluster, network_policies=adding(policy))


def reading(ignored: str, included: str = "") -> Change:
    """An istiod that does not read some kinds of objects, unless they are included."""
    settings = {"PILOT_IGNORE_RESOURCES": ignored, "PILOT_INCLUDE_RESOURCES": included}
    return of("cluster1", deployments=each(named("istiod"), settings=settings))


def failing(source: str, message: str) -> Change:
    traffic = Traffic("cluster1", 200, {"v1": 100}, {message: 100}, source)
    return of_mesh(traffic=(traffic,))


def in_regions(*regions: str) -> Change:
    """A scenario whose clusters are in these regions."""

    def change(recording: Recording) -> Recording:
        clusters = tuple(
            cluster.model_copy(update={"locality": region})
            for cluster, region in zip(recording.scenario.clusters, regions, strict=True)
        )
        scenario = recording.scenario.model_copy(update={"clusters": clusters})
        return replace(recording, scenario=scenario)

    return change


def labelled(*regions: str) -> Iterator[Change]:
    """All nodes of each cluster in another region."""
    for at, region in enumerate(regions):
        yield of(f"cluster{at + 1}", nodes=each(ANY, region=region))


ANY: Callable[[Any], bool] = lambda one: True  # noqa: E731, an argument of `each`
GATEWAY = named("istio-eastwestgateway")
HELLOWORLD = named("helloworld")
SLEEP = named("sleep")
SYSTEM = named("istio-system")
SAMPLE = named("sample")
NETWORK_LABEL = "topology.istio.io/network"
ANNOTATION = "topology.istio.io/controlPlaneClusters"
SECRET_OF_2 = "istio-remote-secret-cluster2"
OTHER_ROOT = Root("0" * 64, "CN=Another Root")
FAILED_CREATE = WarningEvent(
    "sample",
    "ReplicaSet/helloworld-v2-7d8",
    "FailedCreate",
    'failed calling webhook "namespace.sidecar-injector.istio.io": failed to call webhook: x509: '
    "certificate signed by unknown authority",
)

TEMPLATE_ERROR = (
    'Error creating: admission webhook "namespace.sidecar-injector.istio.io" denied the request: '
    "failed to run injection template: template: inject:1: can't evaluate field ProxyInitImage"
)
NOT_IN_CERTIFICATE = (
    "error kube watch error in cluster cluster2: failed to list *v1.Pod: tls: failed to verify "
    "certificate: x509: certificate is valid for 10.0.0.1, not 203.0.113.7"
)
NOT_MOUNTED = (
    'MountVolume.SetUp failed for volume "istiod-ca-cert" : '
    'configmap "istio-ca-root-cert" not found'
)


(COMMON_ROOT,) = (recorded(MULTI).facts.clusters["cluster1"].root_bundles or {})["istio-system"]


def is_any(one: Any) -> bool:
    return True


def signing_below(root: Root, *, trusting: tuple[Root, ...]) -> Change:
    """The second cluster is given another authority, and everything there was restarted."""
    return of(
        "cluster2",
        authority=lambda known: replace(known, below=(root,), roots=trusting),
        root_bundles={"istio-system": trusting, "sample": trusting},
        proxies=each(is_any, below=(root,), roots=trusting),
    )


def served_elsewhere(cluster: str, *, but: str = "") -> Change:
    """A cluster whose proxies have an SDS server of their node, but for those of a name."""

    def chosen(name: str) -> bool:
        return not but or not name.startswith(but)

    return of(
        cluster,
        pods=each(lambda one: one.proxy is not None and chosen(one.name), served_elsewhere=True),
        proxies=each(lambda one: chosen(one.pod), served_elsewhere=True),
    )


def secret(**fields: Any) -> Change:
    """The remote secret of cluster2 in cluster1, changed."""
    return of("cluster1", remote_secrets=each(named(SECRET_OF_2), **fields))


def of_each(**fields: Any) -> Change:
    return both(*(of(name, **fields) for name in ("cluster1", "cluster2")))


def istiods(cluster: str, **fields: Any) -> Change:
    return of(cluster, istiods=each(lambda one: True, **fields))


def with_dns_proxying(recording: Recording) -> Recording:
    """The mesh is to have it, and every pod does."""
    scenario = recording.scenario.model_copy(update={"dns_proxying": True})
    having = of_each(pods=each(lambda one: True, answers_dns=True))
    return having(replace(recording, scenario=scenario))


MCS_ON = {"ENABLE_MCS_SERVICE_DISCOVERY": "true", "ENABLE_MCS_HOST": "true"}


def with_exports(recording: Recording) -> Recording:
    """The mesh is to have Multi-Cluster Services, and HelloWorld is exported from each cluster."""
    scenario = recording.scenario.model_copy(update={"mcs": True})
    having = of_each(
        exported=lambda known: True, deployments=each(named("istiod"), settings=plus(MCS_ON))
    )
    return having(replace(recording, scenario=scenario))


def told(cluster: str, **variables: str) -> Change:
    """An istiod with other variables besides."""
    return of(cluster, deployments=each(named("istiod"), settings=plus(variables)))


UNADVERTISED = both(
    *(
        istiods(name, gateways=without(lambda one: one.cluster == "cluster2"))
        for name in ("cluster1", "cluster2")
    )
)
"""No istiod takes cluster2 for one that has a gateway."""


def unanswered(kind: str, client: str, server: str, port: int = 0) -> Change:
    """Paths of a kind on which nothing comes back; of one port, where that is given."""

    def wanted(path: Path) -> bool:
        is_of = (path.kind, path.client, path.server) == (kind, client, server)
        return is_of and port in (0, path.port)

    lost = {"open": 0, "slow": 0, "refused": 0, "timed_out": lambda _: 10, "attempts": 10}
    return of_mesh(paths=each(wanted, **lost, message="Connection timed out"))


def opened(address: str) -> Change:
    """An API server that is reached at an address."""
    values: dict[str, Any] = {**NOTHING, "attempts": 2, "open": 2, "message": "", "source": "curl"}
    path = Path("cluster1", "cluster2", "api-server", address=address, port=6443, **values)
    return of_mesh(paths=adding(path))


def unsynced(cluster: str) -> Change:
    """A cluster that cluster1's istiod does not read yet."""
    return istiods("cluster1", clusters={"cluster1": "synced", cluster: "syncing"})


def half(kind: str, **counts: int) -> Change:
    """Paths from cluster1 to cluster2 of which half the attempts do not simply succeed."""

    def wanted(path: Path) -> bool:
        return (path.kind, path.client, path.server) == (kind, "cluster1", "cluster2")

    return of_mesh(paths=each(wanted, attempts=10, **counts))


def inside(**counts: int) -> Change:
    """The ports of cluster2's gateway, tried from cluster2."""

    def change(recording: Recording) -> Recording:
        known = recording.facts.paths_of("gateway", "cluster1", "cluster2")
        values: dict[str, Any] = {**NOTHING, "attempts": 2, **counts}
        own = (replace(each, client="cluster2", **values) for each in known)
        return of_mesh(paths=adding(*own))(recording)

    return change


def advertised_at_an_old_address(cluster: str) -> Change:
    """An istiod has an address of network2's gateway that cluster2's does not have and that nobody
    answers at.

    Args:
        cluster: whose it is, as istiod knows it; empty where only `meshNetworks` name it.
    """
    (known,) = recorded(MULTI).facts.clusters["cluster2"].gateway_addresses
    return both(
        of("cluster2", services=each(GATEWAY, external=("10.9.9.9",))),
        UNADVERTISED,
        istiods("cluster1", gateways=adding(NetworkGateway("network2", cluster, known, 15443))),
        unanswered("gateway", "cluster1", "cluster2"),
        inside(timed_out=2),
    )


def to_istiod(kind: str = "istiod", **fields: Any) -> Change:
    """A path by which cluster2's proxies look for istiod."""
    known = {"attempts": 2, "message": "", "address": "10.64.8.1", "port": 15012, "source": "curl"}
    values: dict[str, Any] = {**NOTHING, **known, **fields}
    return of_mesh(paths=adding(Path("cluster2", "", kind, **values)))


def cut_off(spec: Any = None, *, denied: int | None, agreed: int = 0, **connected: int) -> Change:
    """A policy of the whole mesh, and what proxies of cluster2 see of istiod behind the gateway."""
    policy = {} if spec is None else spec
    counts: dict[str, Any] = {"open": 2, **connected}
    return both(
        of(
            "cluster1",
            configuration=configured("AuthorizationPolicy", "nothing", policy, "istio-system"),
            gateways=each(ANY, denied=denied),
        ),
        to_istiod(**counts),
        to_istiod(ISTIOD_TLS, open=agreed, refused=2 - agreed, message="reset by peer"),
    )


def waiting(line: str) -> Change:
    """A proxy of cluster2 that waits, with a line of its log."""
    discovery = "istiod.istio-system.svc:15012"
    return of("cluster2", waiting=(WaitingProxy("sleep-1", "sample", discovery, (line,), "logs"),))


def exchanged(**counts: int) -> Change:
    """What cluster1's proxy counted of cluster2's gateway, and requests that failed."""

    def change(recording: Recording) -> Recording:
        (address,) = recording.facts.clusters["cluster2"].gateway_addresses
        endpoint = Exchanged(f"{address}:15443", **counts)
        failures = {"HTTP 503 upstream connect error": 4}
        traffic = Traffic("cluster1", 200, {"v1": 100}, failures, "sleep", 200, (endpoint,))
        return of_mesh(traffic=(traffic,))(recording)

    return change


LOAD_BALANCER = {"presented": True, "subject": "CN=*.example.com", "issuer": "CN=Public CA"}
WORKLOAD = {"presented": True, "workloads": ("spiffe://cluster.local/ns/sample/sa/helloworld",)}


def in_front(*, http: int = 0, own_http: int = 0) -> Change:
    """What HTTP answers at cluster2's gateway, and at its pod."""

    def is_services(path: Path) -> bool:
        return (path.kind, path.server, path.port) == (TO_GATEWAY, "cluster2", 15443)

    values: dict[str, Any] = {**NOTHING, "attempts": 2, "open": 2, "message": "", "source": "curl"}
    pod = Path("cluster2", "cluster2", GATEWAY_POD, "10.68.32.10", 15443, **values)
    of_pod = replace(pod, http_status=own_http)
    return both(of_mesh(paths=each(is_services, http_status=http)), of_mesh(paths=adding(of_pod)))


def shown(address: Mapping[str, Any], pod: Mapping[str, Any] | None) -> Change:
    """Whose certificates clients see at cluster2's gateway.

    Args:
        pod: of the certificate at its pod; None where that could not be tried.
    """
    (known,) = recorded(MULTI).facts.clusters["cluster2"].gateway_addresses
    seen = [Handshake("cluster1", "cluster2", TO_GATEWAY, known, 15443, "curl", **address)]
    if pod is not None:
        where = ("cluster2", "cluster2", GATEWAY_POD, "10.68.32.10", 15443)
        seen.append(Handshake(*where, "curl", **pod))
    return of_mesh(handshakes=tuple(seen))


VALIDATION = "rev.validation.istio.io"
VALIDATOR = WebhookConfiguration(
    Meta("istio-validator-istio-system"),
    (
        Webhook(
            VALIDATION,
            path="/validate",
            service="istio-system/istiod-x",
            host="",
            has_authority=False,
            namespaces=Selector(),
            objects=Selector(),
            groups=("networking.istio.io",),
        ),
    ),
)


def unvalidated(reason: str) -> Change:
    """The API server of cluster2 admits no rule."""
    seen = f'failed calling webhook "{VALIDATION}": failed to call webhook: Post "u": {reason}'
    finding = Finding("cluster2", "a rule to be admitted", seen)
    return lambda recording: replace(recording, failures={"CONTROL-4": (finding,)})


NOTHING = dict.fromkeys(("open", "slow", "refused", "timed_out", "unreachable", "unresolved"), 0)
OWN_ERRORS = Served("cluster2", "helloworld-v2-1", "v2", 100, 4, 0, "stats")


LABELLED = next(
    one for one in recorded(MULTI).facts.clusters["cluster2"].services or () if GATEWAY(one)
)


def gateway(port: int, **server: Any) -> Any:
    spec = {
        "selector": {"istio": "eastwestgateway"},
        "servers": [{"port": {"number": port}, **server}],
    }
    return Configuration("Gateway", "istio-system", "another", spec)


ALL_PARTS = (
    Part("kube-system", "coredns-0", "1/1 Running", True),
    Part("metallb-system", "controller-0", "1/1 Running", True),
    Part("metallb-system", "speaker-0", "1/1 Running", True),
)


def parts(cluster: str, *found: Part) -> Change:
    """Parts of the lab beside those that are well."""
    return of(cluster, parts=(*ALL_PARTS, *found))


def ended(namespace: str, name: str, ago: float) -> Part:
    """A part of the lab that runs, and ended so many seconds before the facts of `MULTI`."""
    at = datetime.fromtimestamp(recorded(MULTI).facts.at - ago, UTC).isoformat()
    return Part(namespace, name, "1/1 Running", True, 1, at)


def no(kind: str, name: str = "") -> Callable[[Any], Any]:
    return without(lambda one: one.kind == kind and one.name.startswith(name))


KNOWING_NOTHING: Callable[[Any], Any] = lambda known: replace(known, endpoints=())  # noqa: E731
"""A client that knows no endpoint of HelloWorld."""


def of_gateway_api(cluster: str) -> Change:
    """A cluster whose gateway istiod deployed for a Gateway of the Gateway API."""
    return of(
        cluster,
        configuration=lambda known: no("VirtualService")(no("Gateway")(known)),
        services=each(GATEWAY, labels=plus({NAME_LABEL: "eastwest"})),
    )


SILENT = Failed("cluster2", "kubectl --context=cluster2 get pods", "Read timed out.")
FORBIDDEN = Failed("cluster2", "kubectl --context=cluster2 get pods", "pods is forbidden")


def silent(unread: Failed) -> Change:
    """Nothing was read of the second cluster."""
    known = dict.fromkeys(("namespaces", "pods", "services", "deployments"))
    return both(of("cluster2", **known), of_mesh(unread=adding(unread)))


# What was changed in facts of a healthy mesh, and the cause that this must be taken for.
CASES: dict[str, tuple[str, Change, str]] = {
    "an API server that hangs": (MULTI, silent(SILENT), "api-server-unresponsive"),
    "a clock that is ahead": (MULTI, clocks(0.4, 600), "clock-differs"),
    "a clock that is behind": (MULTI, clocks(-600, 0.4), "clock-differs"),
    "no cacerts, and another root": (
        MULTI,
        both(
            of("cluster2", authority=Authority(present=False)),
            of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}),
            of("cluster2", proxies=each(is_any, roots=(OTHER_ROOT,), below=(OTHER_ROOT,))),
        ),
        "cacerts-missing",
    ),
    "SPIRE servers that are not federated": (
        MULTI,
        both(
            signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,)),
            served_elsewhere("cluster1"),
            served_elsewhere("cluster2"),
        ),
        "trust-bundles-differ",
    ),
    "another root": (MULTI, signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,)), "different-roots"),
    "a root that one cluster lacks": (
        MULTI,
        signing_below(OTHER_ROOT, trusting=(OTHER_ROOT, COMMON_ROOT)),
        "different-roots",
    ),
    "a broken chain": (
        MULTI,
        of("cluster2", authority=lambda known: replace(known, defects=("expired",))),
        "cacerts-unsound",
    ),
    "cacerts after istiod": (
        MULTI,
        of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}, proxies=()),
        "cacerts-unused",
    ),
    "cacerts in two forms": (
        MULTI,
        of("cluster2", authority=lambda known: replace(known, unread=("ca-cert.pem",))),
        "cacerts-in-two-forms",
    ),
    "proxies of an earlier root": (
        MULTI,
        of("cluster1", proxies=each(is_any, roots=(OTHER_ROOT,))),
        "proxies-not-restarted",
    ),
    "no root for a new namespace": (
        MULTI,
        of(
            "cluster2",
            root_bundles=lambda known: {"istio-system": known["istio-system"]},
            pods=each(HELLOWORLD, serving=False, state="0/2 Init:0/2"),
        ),
        "root-bundle-missing",
    ),
    "istiod gone": (
        MULTI,
        of("cluster2", deployments=without(named("istiod")), pods=without(named("istiod"))),
        "istiod-not-running",
    ),
    "istiod scaled to 0": (
        MULTI,
        of("cluster2", deployments=each(named("istiod"), wanted=0, ready=0)),
        "istiod-not-running",
    ),
    "istiod in a remote": (
        REMOTE,
        of(
            "cluster2",
            istiods=(Istiod("istiod-x", {}, ("cluster2/sleep-1.sample",), (), (), (), ()),),
        ),
        "istiod-in-remote",
    ),
    "a proxy that rejects its configuration": (
        MULTI,
        istiods("cluster1", unsynced=("cluster1/sleep-1.sample LDS rejected: no such filter",)),
        "configuration-rejected",
    ),
    "an istiod that serves anybody": (
        MULTI,
        of("cluster1", deployments=each(named("istiod"), settings={"XDS_AUTH": "False"})),
        "istiod-authentication-off",
    ),
    "no remote secret": (
        MULTI,
        both(of("cluster1", remote_secrets=()), unsynced("cluster2")),
        "remote-secret-missing",
    ),
    "a remote secret without its label": (
        MULTI,
        both(secret(labelled=False), unsynced("cluster2")),
        "remote-secret-unlabelled",
    ),
    "a remote secret in another namespace": (
        MULTI,
        both(secret(namespace="mesh"), unsynced("cluster2")),
        "remote-secret-namespace-wrong",
    ),
    "a remote secret that runs a program": (
        MULTI,
        both(
            secret(refused=("exec",), accepted=None),
            istiods("cluster1", clusters={"cluster1": "synced"}),
        ),
        "remote-secret-credentials-refused",
    ),
    "a remote secret with another authority": (
        MULTI,
        both(secret(leads_to="", accepted=None), unsynced("cluster2")),
        "remote-secret-certificate-refused",
    ),
    "a remote secret with an address that is not in the certificate": (
        MULTI,
        both(
            istiods(
                "cluster1",
                clusters={"cluster1": "synced", "cluster2": "timeout"},
                log=(NOT_IN_CERTIFICATE,),
            ),
            secret(server="https://203.0.113.7:6443"),
        ),
        "remote-secret-certificate-refused",
    ),
    "a remote secret whose account may read nothing": (
        MULTI,
        secret(denied=("list pods", "watch pods")),
        "remote-secret-forbidden",
    ),
    "a remote secret named for another cluster": (
        MULTI,
        secret(leads_to="cluster1"),
        "remote-secret-wrong-cluster",
    ),
    "a remote secret for this machine": (
        MULTI,
        both(secret(server="https://127.0.0.1:6443"), unsynced("cluster2")),
        "remote-secret-loopback-server",
    ),
    "a remote secret for localhost": (
        MULTI,
        both(secret(server="https://localhost:6443"), unsynced("cluster2")),
        "remote-secret-loopback-server",
    ),
    "a remote secret for another server": (
        MULTI,
        both(secret(server="https://10.9.9.9:6443"), istiods("cluster1", clusters={})),
        "remote-secret-unreachable-server",
    ),
    "an API server out of reach": (
        MULTI,
        unanswered("api-server", "cluster1", "cluster2"),
        "remote-secret-unreachable-server",
    ),
    "a revoked token": (MULTI, secret(accepted=False), "remote-secret-unauthorized"),
    "a remote secret too many": (
        MULTI,
        of(
            "cluster1",
            remote_secrets=lambda known: (
                *known,
                replace(known[0], cluster="cluster9", leads_to="", server="https://10.0.0.9"),
            ),
        ),
        "remote-secret-unexpected",
    ),
    "a cluster that is not read": (
        MULTI,
        istiods("cluster1", clusters={"cluster1": "synced", "cluster2": "timeout"}),
        "remote-cluster-not-read",
    ),
    "certificates that istiod must renew every few seconds": (
        MULTI,
        of("cluster1", proxies=each(lambda one: "sleep" in one.pod, lifetime=128.0)),
        "certificates-short-lived",
    ),
    "an EndpointSlice that was made by hand": (
        MULTI,
        of("cluster1", helloworld=SliceAddresses("sample", ("10.68.0.7", "10.68.0.99"))),
        "endpoints-without-pod",
    ),
    "endpoints of a cluster that is said to be synced are gone": (
        MULTI,
        both(
            of("cluster2", helloworld=SliceAddresses("sample", ("10.68.32.15",))),
            istiods("cluster1", helloworld=without(lambda one: one.cluster == "cluster2")),
        ),
        "endpoints-stale",
    ),
    "no endpoint of other services though synced": (
        MULTI,
        of_mesh(lost=LOST),
        "endpoints-stale",
    ),
    "a remote secret named for another cluster, of which istiod holds endpoints": (
        MULTI,
        both(
            secret(leads_to="cluster1"),
            of("cluster2", helloworld=SliceAddresses("sample", ("10.68.32.15",))),
            istiods("cluster1", helloworld=without(lambda one: one.cluster == "cluster2")),
        ),
        "remote-secret-wrong-cluster",
    ),
    "no network label": (
        MULTI,
        both(
            of("cluster2", namespaces=each(SYSTEM, labels=minus(NETWORK_LABEL))),
            istiods("cluster1", helloworld=each(lambda one: one.cluster == "cluster2", network="")),
        ),
        "network-label-missing",
    ),
    "another network label": (
        MULTI,
        both(
            of("cluster2", namespaces=each(SYSTEM, labels=plus({NETWORK_LABEL: "network1"}))),
            istiods(
                "cluster1",
                helloworld=each(lambda one: one.cluster == "cluster2", network="network1"),
            ),
        ),
        "network-label-wrong",
    ),
    "proxies of another network": (
        MULTI,
        of("cluster2", pods=each(HELLOWORLD, proxy=plus({"network": "network1"}))),
        "proxy-identity-wrong",
    ),
    "no gateway": (
        MULTI,
        both(of("cluster2", services=without(GATEWAY), deployments=without(GATEWAY)), UNADVERTISED),
        "gateway-missing",
    ),
    "a gateway whose pods are gone": (
        MULTI,
        both(
            of("cluster2", pods=without(GATEWAY), deployments=without(GATEWAY)),
            unanswered("gateway", "cluster1", "cluster2"),
        ),
        "gateway-missing",
    ),
    "a gateway without its label": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, labels=minus(NETWORK_LABEL))), UNADVERTISED),
        "gateway-network-label-missing",
    ),
    "a Gateway of the Gateway API without that label": (
        MULTI,
        both(
            of_gateway_api("cluster2"),
            of("cluster2", services=each(GATEWAY, labels=minus(NETWORK_LABEL))),
            UNADVERTISED,
        ),
        "gateway-network-label-missing",
    ),
    "a gateway with the label of another network": (
        MULTI,
        both(
            of("cluster2", services=each(GATEWAY, labels=plus({NETWORK_LABEL: "network1"}))),
            UNADVERTISED,
        ),
        "gateway-network-label-wrong",
    ),
    "a gateway within its cluster": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, kind="ClusterIP", external=())), UNADVERTISED),
        "gateway-address-pending",
    ),
    "a gateway at its nodes": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, kind="NodePort", external=())), UNADVERTISED),
        "gateway-address-pending",
    ),
    "a gateway that wants a header of load balancers": (
        MULTI,
        of("cluster2", gateways=each(lambda one: True, proxy_protocol=(15021, 15443))),
        "gateway-wants-proxy-protocol",
    ),
    "a validation webhook whose Service is gone": (
        MULTI,
        both(of("cluster2", validators=(VALIDATOR,)), unvalidated('service "istiod-x" not found')),
        "validation-failing",
    ),
    "a gateway behind a load balancer that speaks HTTP": (
        MULTI,
        in_front(http=503),
        "gateway-tls-not-passed-through",
    ),
    "a gateway behind a load balancer that ends TLS": (
        MULTI,
        shown(LOAD_BALANCER, WORKLOAD),
        "gateway-tls-not-passed-through",
    ),
    "a gateway that a NetworkPolicy closes": (
        MULTI,
        both(
            isolated("cluster2", "istio-system", {"ports": [{"port": 15021}]}),
            unanswered("gateway", "cluster1", "cluster2"),
        ),
        "network-policy-closed",
    ),
    "a gateway that asks for endpoints of another network": (
        MULTI,
        of("cluster2", pods=each(GATEWAY, proxy=plus({"view": "network1"}))),
        "gateway-network-view-wrong",
    ),
    "a gateway that asks for endpoints of all networks": (
        MULTI,
        of("cluster2", pods=each(GATEWAY, proxy=plus({"view": ""}))),
        "gateway-network-view-wrong",
    ),
    "a gateway without its port": (
        MULTI,
        both(
            of("cluster2", services=each(GATEWAY, ports=(ServicePort(80, "", ""),))), UNADVERTISED
        ),
        "gateway-port-missing",
    ),
    "a gateway that sends its port elsewhere": (
        MULTI,
        of("cluster2", services=each(GATEWAY, ports=(ServicePort(15443, "tls", "", "8443"),))),
        "gateway-target-port-wrong",
    ),
    "a gateway behind a host name that nobody knows": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, external=("gw.invalid",))), UNADVERTISED),
        "gateway-host-name-unresolved",
    ),
    "a gateway scaled to 0": (
        MULTI,
        of("cluster2", deployments=each(GATEWAY, wanted=0, ready=0), pods=without(GATEWAY)),
        "gateway-scaled-to-zero",
    ),
    "a gateway that is not ready": (
        MULTI,
        of(
            "cluster2",
            deployments=each(GATEWAY, ready=0),
            pods=each(GATEWAY, serving=False, state="0/1 Running", trouble="ImagePullBackOff"),
        ),
        "gateway-not-ready",
    ),
    "a gateway without an address": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, external=())), UNADVERTISED),
        "gateway-address-pending",
    ),
    "one address for two gateways": (
        MULTI,
        both(
            of("cluster1", services=each(GATEWAY, external=("10.0.0.1",))),
            of("cluster2", services=each(GATEWAY, external=("10.0.0.1",))),
        ),
        "gateway-address-shared",
    ),
    "a gateway out of reach": (
        MULTI,
        unanswered("gateway", "cluster1", "cluster2"),
        "gateway-unreachable",
    ),
    "services not exposed": (
        MULTI,
        of("cluster2", configuration=no("Gateway"), gateways=each(ANY, ports=(15021, 15090))),
        "services-not-exposed",
    ),
    "a Gateway of the Gateway API without the listener": (
        MULTI,
        both(
            of_gateway_api("cluster2"),
            of(
                "cluster2",
                services=each(GATEWAY, ports=(ServicePort(8080, "http", ""),)),
                gateways=each(ANY, ports=(8080, 15021, 15090)),
            ),
            UNADVERTISED,
        ),
        "services-not-exposed",
    ),
    "a selector that selects nothing": (
        MULTI,
        of(
            "cluster2",
            configuration=each(
                lambda one: one.kind == "Gateway", spec=plus({"selector": {"istio": "eastwest"}})
            ),
            gateways=each(ANY, ports=(15021, 15090)),
        ),
        "gateway-selector-mismatch",
    ),
    "services exposed by another mode": (
        MULTI,
        of(
            "cluster2",
            configuration=lambda known: (
                *no("Gateway")(known),
                gateway(15443, tls={"mode": "PASSTHROUGH"}, hosts=["*.local"]),
            ),
        ),
        "services-exposed-wrongly",
    ),
    "istiod not exposed": (
        REMOTE,
        of("cluster1", configuration=no("Gateway", "istiod")),
        "istiod-not-exposed",
    ),
    "istiod exposed without a route": (
        REMOTE,
        of("cluster1", configuration=no("VirtualService")),
        "istiod-not-exposed",
    ),
    "istiod not exposed by the Gateway API": (
        REMOTE,
        both(of_gateway_api("cluster1"), of("cluster1", gateways=each(ANY, ports=(15021, 15443)))),
        "istiod-not-exposed",
    ),
    "a gateway that does not listen": (
        MULTI,
        of("cluster2", gateways=each(lambda one: True, ports=(15021,))),
        "gateway-not-listening",
    ),
    "no control plane annotation": (
        REMOTE,
        of("cluster2", namespaces=each(SYSTEM, annotations=minus(ANNOTATION)), root_bundles={}),
        "control-plane-annotation-missing",
    ),
    "another control plane": (
        REMOTE,
        of(
            "cluster2",
            namespaces=each(SYSTEM, annotations=plus({ANNOTATION: "cluster9"})),
            root_bundles={},
        ),
        "control-plane-annotation-wrong",
    ),
    "the annotation after the secret": (
        REMOTE,
        of(
            "cluster2",
            namespaces=each(SYSTEM, annotated="2999-01-01T00:00:00Z"),
            root_bundles={},
        ),
        "control-plane-annotation-late",
    ),
    "another injection path": (
        REMOTE,
        of(
            "cluster2",
            webhooks=each(
                lambda one: True,
                webhooks=each(lambda one: True, path="/inject/cluster/remote/net/network2"),
            ),
            pods=each(HELLOWORLD, proxy=plus({"cluster": "remote"})),
        ),
        "injection-path-wrong",
    ),
    "another address of istiod": (
        REMOTE,
        of("cluster2", discovery=("10.0.0.9",)),
        "discovery-address-wrong",
    ),
    "a remote that nobody takes charge of": (
        REMOTE,
        of("cluster2", root_bundles={}),
        "remote-not-attached",
    ),
    "injection off": (
        MULTI,
        of(
            "cluster2",
            namespaces=each(SAMPLE, labels=minus("istio-injection")),
            pods=each(HELLOWORLD, proxy=None, labels=minus("sidecar.istio.io/inject")),
        ),
        "injection-off",
    ),
    "pods from before injection": (
        MULTI,
        of("cluster2", pods=each(HELLOWORLD, proxy=None)),
        "injection-off",
    ),
    "a webhook that cannot be called": (
        MULTI,
        of(
            "cluster2",
            warnings=adding(FAILED_CREATE),
            pods=without(HELLOWORLD),
            deployments=each(HELLOWORLD, ready=0),
        ),
        "injection-failing",
    ),
    "a template of another version": (
        MULTI,
        of(
            "cluster2",
            warnings=adding(replace(FAILED_CREATE, message=TEMPLATE_ERROR)),
            pods=without(HELLOWORLD),
            deployments=each(HELLOWORLD, ready=0),
            injectors=(Injector("istio-sidecar-injector", "istiod-1.31.0", "1.31.0"),),
        ),
        "injection-template-mismatch",
    ),
    "an istiod that ends again and again": (
        MULTI,
        both(
            of(
                "cluster2",
                pods=each(
                    named("istiod"),
                    restarts=4,
                    restarted=datetime.fromtimestamp(
                        recorded(MULTI).facts.at - 20, UTC
                    ).isoformat(),
                    ended="Error, exit code 255",
                ),
            ),
            istiods("cluster2", last_words="Error: failed to create discovery service: x"),
        ),
        "istiod-crashing",
    ),
    "a trust domain that the other cluster does not know": (
        MULTI,
        both(
            istiods("cluster1", trust_domains=TrustDomains("cluster.local", ())),
            istiods("cluster2", trust_domains=TrustDomains("other", ("cluster.local",))),
        ),
        "trust-domains-differ",
    ),
    "namespaces that istiod does not look at": (
        MULTI,
        istiods("cluster1", selectors=(Selector({"mesh": "yes"}),)),
        "namespace-not-selected",
    ),
    "a route to an istiod that is gone": (
        REMOTE,
        of(
            "cluster1",
            configuration=each(
                lambda one: one.kind == "VirtualService",
                spec=plus(
                    {
                        "tls": [
                            {
                                "match": [{"port": port}],
                                "route": [
                                    {"destination": {"host": "istiod-1-30.istio-system.svc"}}
                                ],
                            }
                            for port in (15012, 15017)
                        ]
                    }
                ),
            ),
        ),
        "istiod-not-exposed",
    ),
    "services that are local to each cluster": (
        MULTI,
        both(
            istiods(
                "cluster1", cluster_local={"*": True, "*.kube-system.svc.cluster.local": False}
            ),
            of(
                "cluster1",
                client=lambda known: replace(
                    known,
                    endpoints=tuple(
                        one for one in known.endpoints if not one.target.endswith(":15443")
                    ),
                ),
            ),
        ),
        "services-cluster-local",
    ),
    "a host that one istiod keeps within clusters": (
        MULTI,
        both(
            istiods("cluster1", cluster_local={}),
            istiods("cluster2", cluster_local={"*.payments.svc.cluster.local": True}),
        ),
        "cluster-local-differs",
    ),
    "services that one istiod keeps to their namespace": (
        MULTI,
        both(istiods("cluster1", exported_to=("*",)), istiods("cluster2", exported_to=(".",))),
        "service-export-differs",
    ),
    "a client that resolves names by Kubernetes alone": (
        MULTI,
        both(with_dns_proxying, of("cluster2", pods=each(SLEEP, answers_dns=False))),
        "dns-proxying-off",
    ),
    "an istiod that takes no notice of exports": (
        MULTI,
        both(with_exports, told("cluster2", ENABLE_MCS_SERVICE_DISCOVERY="false")),
        "mcs-off",
    ),
    "an istiod that keeps all services within clusters, exported or not": (
        MULTI,
        both(with_exports, told("cluster1", ENABLE_MCS_CLUSTER_LOCAL="true")),
        "services-cluster-local",
    ),
    "a service that is not exported": (
        MULTI,
        both(with_exports, of("cluster2", exported=lambda known: False)),
        "service-not-exported",
    ),
    "no service": (MULTI, of("cluster2", services=without(HELLOWORLD)), "service-missing"),
    "a service that selects no pod": (
        MULTI,
        both(
            of("cluster2", services=each(HELLOWORLD, selector={"app": "hello"})),
            *(istiods(each, helloworld=()) for each in ("cluster1", "cluster2")),
        ),
        "service-selector-mismatch",
    ),
    "a service without the port": (
        MULTI,
        of("cluster2", services=each(HELLOWORLD, ports=each(lambda one: True, number=80))),
        "service-port-missing",
    ),
    "a port without a name": (
        MULTI,
        of("cluster2", services=each(HELLOWORLD, ports=each(lambda one: True, name=""))),
        "service-port-name-missing",
    ),
    "no workload": (
        MULTI,
        of("cluster2", deployments=without(HELLOWORLD), pods=without(HELLOWORLD)),
        "workload-missing",
    ),
    "a workload scaled to 0": (
        MULTI,
        of("cluster2", deployments=each(HELLOWORLD, wanted=0, ready=0), pods=without(HELLOWORLD)),
        "workload-scaled-to-zero",
    ),
    "a workload that stays as it is": (
        MULTI,
        of("cluster2", deployments=each(HELLOWORLD, paused=True)),
        "rollout-paused",
    ),
    "a workload that is not ready": (
        MULTI,
        of(
            "cluster2",
            deployments=each(HELLOWORLD, ready=0),
            pods=each(HELLOWORLD, serving=False, state="1/2 Running"),
        ),
        "workload-not-ready",
    ),
    "no mutual TLS in the namespace": (
        MULTI,
        of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN)),
        "mtls-disabled",
    ),
    "no mutual TLS in the mesh": (
        MULTI,
        of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN, "istio-system")),
        "mtls-disabled",
    ),
    "no mutual TLS in a mesh with another root namespace": (
        MULTI,
        both(
            of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN, "policies")),
            of_mesh(names=MeshNames(root_namespace="policies")),
        ),
        "mtls-disabled",
    ),
    "no mutual TLS at HelloWorld's port": (
        MULTI,
        of(
            "cluster2",
            configuration=configured(
                "PeerAuthentication",
                "x",
                {
                    "selector": {"matchLabels": {"app": "helloworld"}},
                    "portLevelMtls": {"5000": {"mode": "DISABLE"}},
                },
            ),
        ),
        "mtls-disabled",
    ),
    "clients without TLS": (
        MULTI,
        of(
            "cluster1",
            configuration=configured(
                "DestinationRule",
                "x",
                {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
            ),
        ),
        "client-tls-disabled",
    ),
    "clients that use mutual TLS by a rule only, without one": (
        MULTI,
        both(
            istiods("cluster2", auto_mtls=False),
            of("cluster2", configuration=no("DestinationRule")),
        ),
        "client-tls-disabled",
    ),
    "requests that are answered by a route of the whole mesh": (
        MULTI,
        routed("*.local", {"directResponse": {"status": 404}}, namespace="istio-system"),
        "routed-elsewhere",
    ),
    "requests that are routed to another service": (
        MULTI,
        routed(
            "helloworld",
            {"match": [{"headers": {"x": {"exact": "y"}}}], "redirect": {"uri": "/"}},
            {"route": [{"destination": {"host": "shop"}}]},
        ),
        "routed-elsewhere",
    ),
    "requests that are denied": (
        MULTI,
        both(
            failing("sleep", "HTTP 403 RBAC: access denied"),
            of(
                "cluster2",
                configuration=configured("AuthorizationPolicy", "x", REFUSING),
            ),
        ),
        "authorization-denied",
    ),
    "requests that are denied where another policy allows all": (
        MULTI,
        both(
            failing("sleep", "HTTP 403 RBAC: access denied"),
            of(
                "cluster2",
                configuration=adding(
                    Configuration("AuthorizationPolicy", "sample", "x", REFUSING),
                    Configuration("AuthorizationPolicy", "sample", "y", {"rules": [{}]}),
                ),
            ),
        ),
        "authorization-denied",
    ),
    "an istiod that reads no policies": (
        MULTI,
        reading("*.istio.io", "wasmplugins.extensions.istio.io"),
        "authorization-ignored",
    ),
    "proxies of a remote that a policy keeps from istiod": (
        REMOTE,
        cut_off(denied=3),
        "istiod-access-denied",
    ),
    "nodes without a region": (
        MULTI,
        both(in_regions("network1", "network2"), *labelled("", "")),
        "node-region",
    ),
    "outliers that are never detected": (
        MULTI,
        of("cluster1", configuration=configured("EnvoyFilter", "x", PATIENT, "istio-system")),
        "outlier-detection-changed",
    ),
    "weights of a route": (
        MULTI,
        routed("helloworld", {"route": [{"destination": {"subset": "v1"}, "weight": 90}]}),
        "weighted-route",
    ),
    "a fault in a route": (
        MULTI,
        routed("*.local", {"fault": {"abort": {"httpStatus": 503}}}),
        "route-fault",
    ),
    "a sidecar that leaves HelloWorld out": (
        MULTI,
        of(
            "cluster1",
            configuration=configured("Sidecar", "x", {"egress": [{"hosts": ["istio-system/*"]}]}),
            client=KNOWING_NOTHING,
        ),
        "sidecar-scope",
    ),
    "no route between pods": (
        SHARED,
        unanswered("pod", "cluster1", "cluster2"),
        "pod-route-missing",
    ),
    "a range of addresses for the pods of both clusters": (
        SHARED,
        both(
            of("cluster1", nodes=each(ANY, pod_ranges=("10.4.0.0/24",))),
            of("cluster2", pods=each(named("helloworld"), ip="10.4.0.9")),
        ),
        "pod-addresses-overlap",
    ),
    "two pods with the same address": (
        SHARED,
        of("cluster2", pods=each(named("helloworld"), ip="10.4.0.6")),
        "pod-addresses-overlap",
    ),
    "a route between networks": (
        MULTI,
        half("pod", open=10, timed_out=0),
        "networks-not-isolated",
    ),
    "a name server that is down": (
        MULTI,
        parts("cluster2", Part("kube-system", "coredns-1", "0/1 Running", False)),
        "lab-dns-failing",
    ),
    "no name server": (
        MULTI,
        of("cluster1", parts=ALL_PARTS[1:]),
        "lab-dns-failing",
    ),
    "a load balancer that was killed a minute ago": (
        MULTI,
        parts("cluster1", ended("metallb-system", "speaker-1", 60)),
        "lab-load-balancer-failing",
    ),
    "a kubelet that ended a minute ago": (
        MULTI,
        of("cluster1", ended=(ended("", "kubelet on cluster1-node1", 60),)),
        "lab-component-failing",
    ),
    "large packets that are lost": (
        MULTI,
        of_mesh(
            packet_sizes=(
                PacketSizes("cluster1", "cluster2", "10.64.40.1", 15021, 1200, 1204, "curl"),
            )
        ),
        "large-packets-lost",
    ),
    "a port that only the gateway's own cluster reaches": (
        MULTI,
        both(unanswered("gateway", "cluster1", "cluster2"), inside(open=2)),
        "gateway-unreachable",
    ),
    "a port that not even the gateway's own cluster reaches": (
        MULTI,
        both(unanswered("gateway", "cluster1", "cluster2"), inside(timed_out=2)),
        "gateway-not-answering",
    ),
    "an address of a gateway that only the mesh configuration names": (
        MULTI,
        advertised_at_an_old_address(""),
        "gateway-address-stale",
    ),
    "a port of istiod that proxies do not reach": (
        REMOTE,
        to_istiod(timed_out=2, message="Connection timed out"),
        "istiod-unreachable",
    ),
    "a cluster without DNS": (
        MULTI,
        to_istiod(kind="dns", unresolved=2, message="Could not resolve host"),
        "dns-failing",
    ),
    "a host name of istiod that is not resolved": (
        REMOTE,
        both(
            of("cluster2", discovery=("istiod.example.com",)),
            waiting("lookup istiod.example.com: no such host"),
        ),
        "istiod-host-name-wrong",
    ),
    "a name that istiod's certificate does not have": (
        REMOTE,
        waiting("x509: certificate is valid for istiod.istio-system.svc, not istiod.example.com"),
        "istiod-host-name-wrong",
    ),
    "an application that answers with errors": (
        MULTI,
        of_mesh(served=(OWN_ERRORS,)),
        "application-errors",
    ),
    "requests that pass by the proxy": (
        MULTI,
        of_mesh(traffic=(Traffic("cluster1", 200, {"v1": 200}, {}, "sleep", by_proxy=0),)),
        "sidecar-bypassed",
    ),
    "connections that are cut": (
        MULTI,
        exchanged(requests=100, errors=4),
        "gateway-connection-resets",
    ),
    "lost packets": (
        MULTI,
        half("gateway", open=8, slow=3, timed_out=2, resent=5),
        "packet-loss",
    ),
    "connections that are refused": (
        MULTI,
        half("gateway", open=6, refused=4),
        "gateway-connection-resets",
    ),
}


def recording_of(case: str) -> tuple[Recording, str]:
    base, change, cause = CASES[case]
    return change(recorded(base)), cause


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_taken_for_its_cause(case: str) -> None:
    recording, cause = recording_of(case)
    found_against = (FINDING, replace(FINDING, cluster="cluster2"))
    failures: dict[str, tuple[Finding, ...]] = dict.fromkeys(EVERYTHING, found_against)
    failures |= recording.failures
    found = diagnose(recording.scenario, recording.facts, failures)
    assert cause in found.ids
    root = next(root for root in found.roots if root.id == cause)
    assert root.cause.evidence
    assert root.cause.remedy
    assert "\n" not in root.cause.statement


@pytest.mark.parametrize("base", [MULTI, REMOTE, SHARED])
def test_nothing_is_wrong_with_a_healthy_mesh(base: str) -> None:
    recording = recorded(base)
    failures: dict[str, tuple[Finding, ...]] = dict.fromkeys(EVERYTHING, (FINDING,))
    assert diagnose(recording.scenario, recording.facts, failures).ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("host", "passed"),
    [
        ("*", True),
        ("*.local", True),
        ("sample/*.svc.cluster.local", True),
        ("*.sample.svc.cluster.local", True),
        ("./helloworld.sample.svc.cluster.local", True),
        ("*.example.com", False),
        ("*.other.svc.cluster.local", False),
    ],
)
def test_hosts_by_which_helloworld_is_passed_on(host: str, passed: bool) -> None:
    served = gateway(15443, tls={"mode": "AUTO_PASSTHROUGH"}, hosts=[host])
    only = of("cluster2", configuration=lambda known: (*no("Gateway")(known), served))
    named = "services-exposed-wrongly" in diagnosed(only, "GATEWAY-1").ids
    assert named != passed


@pytest.mark.parametrize(
    ("selector", "left_out"),
    [
        (Selector({"mesh": "yes"}), "istio-system, sample of cluster1; istio-system, sample of"),
        (Selector({}, (("kubernetes.io/metadata.name", "NotIn", ("istio-system",)),)), "at istio-"),
        (Selector({"istio-injection": "enabled"}), "not at istio-system of cluster1; istio-system"),
    ],
)
def test_namespaces_that_are_left_out_are_named(selector: Selector, left_out: str) -> None:
    (root,) = diagnosed(istiods("cluster2", selectors=(selector,)), "GATEWAY-1").roots
    assert root.id == "namespace-not-selected"
    assert root.cause.clusters[0] == "cluster2"
    assert left_out in root.cause.statement


@pytest.mark.parametrize(
    ("change", "certainty"),
    [
        (shown(LOAD_BALANCER, {}), "certain"),
        (shown(LOAD_BALANCER, None), "likely"),
        (
            both(shown(LOAD_BALANCER, None), of("cluster2", pods=each(GATEWAY, proxy=None))),
            "certain",
        ),
    ],
    ids=["its pod shows none", "its pod was not tried", "another pod is behind its Service"],
)
def test_what_ends_tls_is_told_from_the_gateway(change: Change, certainty: str) -> None:
    alb = {"service.beta.kubernetes.io/aws-load-balancer-ssl-ports": "15443"}
    annotated = of("cluster2", services=each(GATEWAY, balancing=alb))
    found = diagnosed(both(change, annotated), "TRAFFIC-1")
    (root,) = [each for each in found.roots if each.id == "gateway-tls-not-passed-through"]
    assert root.certainty == certainty
    assert "ends TLS by a certificate of CN=*.example.com" in root.cause.statement
    assert any("ssl-ports: 15443" in each.seen for each in root.cause.evidence)


def test_an_address_that_no_gateway_has_is_told_from_one_that_is_down() -> None:
    change = both(
        of("cluster2", services=each(GATEWAY, external=("10.9.9.9",))),
        unanswered("gateway", "cluster1", "cluster2"),
        inside(timed_out=2),
    )
    (root,) = diagnosed(change, "GATEWAY-1").roots
    assert root.id == "gateway-not-answering"
    assert root.cause.statement.endswith("the gateways' Services there have 10.9.9.9")
    assert "meshNetworks" in root.cause.remedy


def test_an_address_that_only_mesh_networks_name_is_stale() -> None:
    (root,) = diagnosed(advertised_at_an_old_address(""), "GATEWAY-1").roots
    assert root.id == "gateway-address-stale"
    assert root.cause.statement.startswith("meshNetworks in the mesh configuration of cluster1 ")
    assert "name 10.9.9.9 in its place" in root.cause.remedy
    of_a_service = diagnosed(advertised_at_an_old_address("cluster2"), "GATEWAY-1")
    assert of_a_service.ids == ("gateway-not-answering",)


def test_ranges_of_pods_that_nobody_uses_do_not_overlap() -> None:
    """As with networks that assign pods' addresses themselves, whatever range a node was given."""
    unused = of("cluster1", nodes=each(ANY, pod_ranges=("10.4.32.0/24", "10.9.0.0/24")))
    apart = of("cluster1", nodes=each(ANY, pod_ranges=("10.4.0.0/24",)))
    on_a_node = of("cluster2", pods=each(named("helloworld"), ip="10.4.0.6", host_network=True))
    for change in (unused, apart, on_a_node):
        recording = change(recorded(SHARED))
        found = diagnose(recording.scenario, recording.facts, {"NETWORK-1": (FINDING,)})
        assert found.ids == (UNKNOWN,)


def test_a_name_that_nobody_resolves_is_no_gateway_that_does_not_answer() -> None:
    recording, cause = recording_of("a gateway behind a host name that nobody knows")

    def of_second(path: Path) -> bool:
        return (path.kind, path.server) == ("gateway", "cluster2")

    lost = {**NOTHING, "attempts": 2, "unresolved": 2, "address": "gw.invalid"}
    seen = both(of_mesh(paths=each(of_second, **lost)), inside(unresolved=2))(recording)
    found = diagnose(seen.scenario, seen.facts, {"GATEWAY-1": (FINDING,)})
    assert found.ids == (cause,)
    assert any("2 name not resolved" in one.seen for one in found.roots[0].cause.evidence)


EAST_WEST = {"matchLabels": {"istio": "eastwestgateway"}}


@pytest.mark.parametrize(
    ("change", "certainty"),
    [
        (cut_off(denied=3), "certain"),
        (cut_off(denied=None), "likely"),
        (cut_off({"selector": EAST_WEST}, denied=3), "certain"),
        (cut_off(REFUSING, denied=3), "certain"),
        (cut_off({"rules": [{"to": [{"operation": {"ports": ["15443"]}}]}]}, denied=3), "certain"),
        (cut_off(denied=0), ""),
        (cut_off(denied=3, agreed=1), ""),
        (cut_off(denied=None, open=0, timed_out=2), ""),
        (cut_off({"rules": [{}]}, denied=3), ""),
        (cut_off({"action": "DENY"}, denied=3), ""),
        (cut_off({"action": "AUDIT", "rules": [{}]}, denied=3), ""),
        (cut_off({"selector": {"matchLabels": {"app": "other"}}}, denied=3), ""),
        (cut_off({"targetRefs": [{"kind": "Gateway", "name": "other"}]}, denied=3), ""),
    ],
)
def test_who_keeps_a_remote_from_istiod(change: Change, certainty: str) -> None:
    recording = change(recorded(REMOTE))
    failures = {"CONTROL-2": (Finding("cluster2", "a connection", "none"),)}
    found = diagnose(recording.scenario, recording.facts, failures)
    (root,) = found.roots
    if certainty:
        assert (root.id, root.certainty) == ("istiod-access-denied", certainty)
        assert root.cause.clusters[0] == "cluster1"
        for each in ("AuthorizationPolicy istio-system/nothing", "cluster1", "cluster2"):
            assert each in root.cause.statement
    else:
        assert root.id != "istiod-access-denied"


@pytest.mark.parametrize(
    ("change", "certainty"), [({}, "certain"), ({"remote_secrets": None}, "likely")]
)
def test_endpoints_are_stale_for_certain_where_remote_secrets_are_known(
    change: dict[str, Any], certainty: str
) -> None:
    stale = both(
        of("cluster2", helloworld=SliceAddresses("sample", ("10.68.32.15",))),
        istiods("cluster1", helloworld=without(lambda one: one.cluster == "cluster2")),
        of("cluster1", **change),
    )
    (root,) = diagnosed(stale, "DISCOVERY-2").roots
    assert (root.id, root.certainty) == ("endpoints-stale", certainty)


@pytest.mark.parametrize(
    ("change", "certainty"), [({}, "certain"), ({"remote_secrets": None}, "likely")]
)
def test_services_are_lost_for_a_requirement_that_misses_them(
    change: dict[str, Any], certainty: str
) -> None:
    recording = both(of_mesh(lost=LOST), of("cluster1", **change))(recorded(MULTI))
    missed = Finding("cluster1", "endpoints", "none", about=Subject(("cluster2",)))
    found = diagnose(recording.scenario, recording.facts, {"DISCOVERY-3": (missed,)})
    (root,) = found.roots
    assert (root.id, root.certainty, root.consequences) == (
        "endpoints-stale",
        certainty,
        ("DISCOVERY-3",),
    )
    for each in ("cluster1", "cluster2", "2 services: shop/cart, shop/till"):
        assert each in root.cause.statement
    elsewhere = replace(missed, cluster="cluster2", about=Subject(("cluster1",)))
    found = diagnose(recording.scenario, recording.facts, {"DISCOVERY-3": (elsewhere,)})
    assert found.ids == (UNKNOWN,)


def test_services_that_are_missed_at_one_look_explain_nothing_else() -> None:
    assert diagnosed(of_mesh(lost=LOST), "DISCOVERY-2").ids == (UNKNOWN,)


def test_a_label_is_missed_for_pods_without_a_proxy_though_injection_tells_of_the_others() -> None:
    change = of("cluster2", namespaces=each(SYSTEM, labels=minus(NETWORK_LABEL)))
    recording = change(recorded(MULTI))
    missed = Finding("cluster2", f"istio-system to have the label {NETWORK_LABEL}=network2", "none")
    found = diagnose(recording.scenario, recording.facts, {"CONTROL-3": (missed,)})
    assert found.ids == ("network-label-missing",)
    elsewhere = replace(missed, cluster="cluster1")
    found = diagnose(recording.scenario, recording.facts, {"CONTROL-3": (elsewhere,)})
    assert found.ids == (UNKNOWN,)


def test_a_policy_that_keeps_a_remote_from_istiod_says_nothing_of_its_primary() -> None:
    recording = cut_off(denied=3)(recorded(REMOTE))
    failures = {"CONTROL-2": (Finding("cluster1", "a connection", "none"),)}
    assert diagnose(recording.scenario, recording.facts, failures).ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("nodes", "breaks"),
    [
        (("network1", "network2"), ()),
        (("", ""), ("LOCALITY-1", "LOCALITY-2")),
        (("network1", "network1"), ("LOCALITY-1", "LOCALITY-2")),
        (("network1", ""), ("LOCALITY-2",)),
        (("network1", "elsewhere"), ("LOCALITY-2",)),
    ],
)
def test_regions_of_nodes(nodes: tuple[str, str], breaks: tuple[str, ...]) -> None:
    placed = both(in_regions("network1", "network2"), *labelled(*nodes))
    for requirement in ("LOCALITY-1", "LOCALITY-2"):
        (root,) = diagnosed(placed, requirement).roots
        assert root.id == ("node-region" if requirement in breaks else UNKNOWN)
        if requirement in breaks:
            assert root.certainty == "certain"


def test_a_cluster_with_another_node_in_its_region_may_be_the_cause() -> None:
    other = each(ANY, name="other", region="network1")
    placed = both(
        in_regions("network1", "network2"),
        of("cluster2", nodes=lambda known: (*known, *other(known))),
    )
    (root,) = diagnosed(placed, "LOCALITY-1").roots
    assert (root.id, root.certainty) == ("node-region", "likely")
    assert "cluster2 in network1, network2, not network2" in root.cause.statement


def test_regions_that_nobody_declared_are_as_they_are() -> None:
    assert diagnosed(both(*labelled("", "")), "TRAFFIC-2").ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("namespace", "spec"),
    [
        ("elsewhere", PATIENT),
        ("istio-system", {}),
        ("istio-system", {"configPatches": [{"applyTo": "LISTENER", "patch": {"value": {}}}]}),
        ("istio-system", {"configPatches": [{"applyTo": "CLUSTER", "patch": {"value": {}}}]}),
    ],
)
def test_filters_that_leave_outlier_detection_alone(namespace: str, spec: dict[str, Any]) -> None:
    change = of("cluster1", configuration=configured("EnvoyFilter", "x", spec, namespace))
    assert diagnosed(change, "LOCALITY-1").ids == (UNKNOWN,)


def test_policies_of_a_cluster_that_answered_deny_nothing() -> None:
    change = both(
        failing("sleep", "HTTP 403 RBAC: access denied"),
        *(
            of(name, configuration=configured("AuthorizationPolicy", "x", REFUSING))
            for name in ("cluster1", "cluster2")
        ),
    )
    (root,) = diagnosed(change, "TRAFFIC-1").roots
    assert root.cause.clusters == ("cluster2",)


def test_policies_of_a_run_deny_nobody_else_anything() -> None:
    change = both(
        failing("sleep", "HTTP 403 RBAC: access denied"),
        of(
            "cluster2",
            configuration=adding(
                Configuration("AuthorizationPolicy", "sample", "mesh-conformance-deny-1", REFUSING),
                Configuration("AuthorizationPolicy", "sample", "x", REFUSING),
            ),
        ),
    )
    (root,) = diagnosed(change, "TRAFFIC-1").roots
    assert "sample/x" in root.cause.statement
    assert "mesh-conformance" not in root.cause.statement


def test_what_exposes_services_in_vain_is_told_where_the_gateway_went() -> None:
    recording, _ = recording_of("no gateway")
    (root,) = diagnose(recording.scenario, recording.facts, {"GATEWAY-1": (FINDING,)}).roots
    assert "Gateway istio-system/cross-network-gateway" in root.cause.statement
    assert "metadata.name" in root.cause.remedy
    assert any("istio: eastwestgateway" in each.seen for each in root.cause.evidence)


@pytest.mark.parametrize("base", [MULTI, REMOTE])
def test_nothing_is_wrong_with_gateways_of_the_gateway_api(base: str) -> None:
    recording = both(of_gateway_api("cluster1"), of_gateway_api("cluster2"))(recorded(base))
    failures: dict[str, tuple[Finding, ...]] = dict.fromkeys(EVERYTHING, (FINDING,))
    assert diagnose(recording.scenario, recording.facts, failures).ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("case", "step", "words"),
    [
        (
            "a Gateway of the Gateway API without the listener",
            "gateway/cluster2",
            ("Gateway istio-system/eastwest", "15443", "*.local", "auto-passthrough"),
        ),
        (
            "istiod not exposed by the Gateway API",
            "expose-istiod/cluster1",
            ("Gateway istio-system/eastwest", "15012", "15017", "expose-istiod-tlsroutes.yaml"),
        ),
        (
            "a Gateway of the Gateway API without that label",
            "",
            ("gateways.gateway.networking.k8s.io/eastwest", "topology.istio.io/network=network2"),
        ),
    ],
)
def test_what_to_do_is_said_in_terms_of_the_gateway_api(
    case: str, step: str, words: tuple[str, ...]
) -> None:
    recording, cause = recording_of(case)
    found = diagnose(recording.scenario, recording.facts, {"GATEWAY-1": (FINDING,)})
    known = {root.id: root.cause for root in found.roots}
    assert "gateway-port-missing" not in known
    assert (known[cause].step, known[cause].certainty) == (step, "certain")
    assert step in known[cause].remedy
    assert [each for each in words if each not in known[cause].remedy] == []
    assert "expose-services" not in known[cause].remedy


def test_connections_that_are_slow_on_a_busy_machine_are_no_loss() -> None:
    slow = half("gateway", open=8, slow=3, timed_out=2, resent=0)(recorded(MULTI))
    found = diagnose(slow.scenario, slow.facts, {"TRAFFIC-1": (FINDING,)})
    assert "packet-loss" not in found.ids


def test_part_of_the_lab_that_ended_long_ago_explains_nothing() -> None:
    old = parts("cluster1", ended("kube-system", "coredns-1", 3600))(recorded(MULTI))
    found = diagnose(old.scenario, old.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == (UNKNOWN,)


def test_pods_of_the_lab_that_could_not_be_read_are_not_missing() -> None:
    old = of("cluster1", ended=(ended("", "kube-apiserver on node1", 3600),))(recorded(MULTI))
    found = diagnose(old.scenario, old.facts, dict.fromkeys(("GATEWAY-1", "TRAFFIC-1"), (FINDING,)))
    assert found.ids == (UNKNOWN,)


def test_what_follows_from_a_part_of_the_lab_is_put_below_it() -> None:
    down = Part("metallb-system", "controller-1", "0/1 Pending", False)
    pending, _ = recording_of("a gateway without an address")
    changed = parts("cluster2", down)(pending)
    found = diagnose(changed.scenario, changed.facts, {"GATEWAY-1": (FINDING,)})
    assert found.ids == ("lab-load-balancer-failing",)
    assert [each.id for each in found.roots[0].followed_by] == ["gateway-address-pending"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (clocks(0.4, 100), ()),
        (clocks(0.4, 121), ()),  # within what either may be off by
        (clocks(10_800, 10_801), ()),  # the clock of who asks
        (clocks(0.0, 10_800), ("cluster2",)),
        (clocks(10_800, 0.0), ("cluster1",)),
        (clocks(-10_800, -4.0), ("cluster1",)),
        (both(clocks(0.0, 600), valid(-3600, 3600)), ()),
        (both(clocks(0.0, 600), valid(-3600, 300)), ("cluster2",)),
        (both(clocks(-600, 0.0), valid(-300, 3600)), ("cluster1",)),
        (of("cluster1", clock=Clock(600, 0.5)), ()),  # that of the other is not known
    ],
)
def test_a_clock_is_named_where_it_is_apart_and_certificates_show_it(
    change: Change, named: tuple[str, ...]
) -> None:
    recording = change(recorded(MULTI))
    case = Case(recording.scenario, recording.facts, {})
    causes = [*cluster_health.clocks_apart(case)]
    assert tuple(each.clusters[0] for each in causes) == named
    for cause in causes:
        assert cause.certainty == "likely"


def test_of_many_clocks_that_of_most_is_right() -> None:
    recording = recorded(MULTI)
    first = recording.facts.clusters["cluster1"]
    names = ("cluster1", "cluster2", "cluster3")
    ahead = {"cluster1": 3600.0, "cluster2": 0.0, "cluster3": 3601.0}
    spec = recording.scenario.clusters[0]
    specs = tuple(spec.model_copy(update={"name": name}) for name in names)
    scenario = recording.scenario.model_copy(update={"clusters": specs})
    clusters = {name: replace(first, name=name, clock=Clock(ahead[name], 0.6)) for name in names}
    case = Case(scenario, replace(recording.facts, clusters=clusters), {})
    (cause,) = cluster_health.clocks_apart(case)
    assert cause.clusters == ("cluster2",)
    assert "1:00:00 behind that of cluster1, cluster3" in cause.statement


def test_what_may_not_be_read_is_no_silence() -> None:
    recording = silent(FORBIDDEN)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"WORKLOAD-1": (FINDING,)})
    assert "api-server-unresponsive" not in found.ids


def test_errors_of_the_application_are_no_fault_of_the_gateway() -> None:
    recording = exchanged(requests=100, errors=4)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == ("gateway-connection-resets",)
    known = of_mesh(served=(OWN_ERRORS,))(recording)
    found = diagnose(known.scenario, known.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == ("application-errors",)
    assert "v2 itself, in pod helloworld-v2-1 of cluster2" in found.roots[0].cause.statement


def test_errors_on_the_way_are_told_from_those_of_the_application() -> None:
    few = of_mesh(served=(replace(OWN_ERRORS, errors=1),))
    recording = few(exchanged(requests=100, errors=4)(recorded(MULTI)))
    (resets,) = connections.gateway_resets(Case(recording.scenario, recording.facts, {}))
    assert "3 of 100 requests failed" in resets.statement


def test_a_pod_that_answered_all_requests_is_no_cause() -> None:
    recording = of_mesh(served=(replace(OWN_ERRORS, errors=0),))(recorded(MULTI))
    assert diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)}).ids == (
        UNKNOWN,
    )


@pytest.mark.parametrize(
    ("counted", "answered", "found"), [(200, 200, UNKNOWN), (0, 0, UNKNOWN), (None, 200, UNKNOWN)]
)
def test_requests_that_the_proxy_counted_did_not_pass_by_it(
    counted: int | None, answered: int, found: str
) -> None:
    traffic = Traffic("cluster1", 200, {"v1": answered}, {}, "sleep", by_proxy=counted)
    recording = of_mesh(traffic=(traffic,))(recorded(MULTI))
    seen = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    assert seen.ids == (found,)


@pytest.mark.parametrize(
    ("redirection", "named"),
    [
        (Redirection("excludeOutboundIPRanges", "10.68.0.0/16", False), "global.proxy.exclude"),
        (Redirection("excludeOutboundIPRanges", "10.68.0.0/16", True), "annotation traffic"),
        (Redirection("includeOutboundIPRanges", "192.0.2.0/24", False), "global.proxy.include"),
        (Redirection("includeOutboundIPRanges", "*", False), ""),
        (Redirection("excludeOutboundPorts", "80,5000", True), "annotation traffic"),
        (Redirection("excludeOutboundPorts", "80", True), ""),
        (Redirection("excludeOutboundIPRanges", "192.0.2.0/24", True), ""),
    ],
)
def test_the_setting_by_which_requests_pass_by_the_proxy_is_named(
    redirection: Redirection, named: str
) -> None:
    change = both(
        of_mesh(traffic=(Traffic("cluster1", 200, {"v1": 200}, {}, "sleep", by_proxy=0),)),
        of(
            "cluster1",
            services=each(HELLOWORLD, cluster_ip="10.68.0.9"),
            pods=each(SLEEP, redirections=(redirection,)),
        ),
    )
    recording = change(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    statement = found.roots[0].cause.statement
    assert (named in statement) if named else statement.endswith("pass by its proxy")


def test_the_path_is_told_from_the_gateway() -> None:
    change = both(unanswered("gateway", "cluster1", "cluster2"), inside(open=2))
    recording = change(recorded(MULTI))
    (root,) = diagnose(recording.scenario, recording.facts, {"GATEWAY-1": (FINDING,)}).roots
    assert root.id == "gateway-unreachable"
    assert root.certainty == "certain"
    for each in ("cluster1", "cluster2", "15443", "timed out"):
        assert each in root.cause.statement


def test_istiod_may_be_at_an_address_of_its_own() -> None:
    own = of("cluster2", discovery=("192.0.2.7",))
    failures = {"CONTROL-2": (FINDING,)}
    wrong = own(recorded(REMOTE))
    assert "discovery-address-wrong" in diagnose(wrong.scenario, wrong.facts, failures).ids
    right = both(own, to_istiod(open=2, address="192.0.2.7"))(recorded(REMOTE))
    assert diagnose(right.scenario, right.facts, failures).ids == (UNKNOWN,)


def test_a_host_name_of_istiod_is_not_compared_with_addresses() -> None:
    named = of("cluster2", discovery=("istiod.example.com",))(recorded(REMOTE))
    found = diagnose(named.scenario, named.facts, {"WORKLOAD-1": (FINDING,)})
    assert "discovery-address-wrong" not in found.ids


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        (
            of("cluster2", namespaces=each(SYSTEM, annotations=minus(ANNOTATION))),
            "control-plane-annotation-missing",
        ),
        (
            of("cluster2", namespaces=each(SYSTEM, annotations=plus({ANNOTATION: "cluster9"}))),
            "control-plane-annotation-wrong",
        ),
        (
            of("cluster2", webhooks=each(is_any, webhooks=each(is_any, path="/inject"))),
            "injection-path-wrong",
        ),
        (
            both(
                of("cluster2", discovery=("192.0.2.7",)),
                istiods(
                    "cluster1",
                    gateways=adding(NetworkGateway("network1", "cluster1", "192.0.2.7", 15443)),
                ),
            ),
            "discovery-address-wrong",
        ),
    ],
    ids=["no annotation", "another annotation", "another injector", "an address behind a name"],
)
def test_a_remote_that_has_all_it_needs_is_attached(change: Change, refuted: str) -> None:
    recording = change(recorded(REMOTE))
    everything = dict.fromkeys(EVERYTHING, (replace(FINDING, cluster="cluster2"),))
    assert refuted not in diagnose(recording.scenario, recording.facts, everything).ids


def test_a_remote_may_find_istiod_elsewhere_than_at_a_gateway() -> None:
    without_exposure = of(
        "cluster1",
        configuration=lambda known: no("VirtualService")(no("Gateway", "istiod")(known)),
        gateways=each(ANY, ports=(15021, 15443)),
    )
    everything = dict.fromkeys(EVERYTHING, (FINDING, replace(FINDING, cluster="cluster2")))
    cut_off = without_exposure(recorded(REMOTE))
    found = diagnose(cut_off.scenario, cut_off.facts, everything)
    assert "istiod-not-exposed" in found.ids
    served = to_istiod(ISTIOD_TLS, open=2, address="192.0.2.7")(cut_off)
    found = diagnose(served.scenario, served.facts, everything)
    assert not {*found.ids} & {"istiod-not-exposed", "gateway-not-listening"}


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ('service "istiod-x" not found', "delete validatingwebhookconfiguration istio-validator-"),
        ("tls: x509: certificate signed by unknown authority", "has no caBundle"),
        ("tls: x509: certificate has expired or is not yet valid", "renew istiod's certificate"),
        ("dial tcp 10.1.2.3:443: connect: connection refused", "port 15017"),
        ("context deadline exceeded", "port 15017"),
    ],
)
def test_why_nobody_validates_is_said(reason: str, remedy: str) -> None:
    known = both(of("cluster2", validators=(VALIDATOR,)), unvalidated(reason))(recorded(MULTI))
    failures = {**known.failures, "TRAFFIC-3": ()}
    (root,) = diagnose(known.scenario, known.facts, failures).roots
    assert (root.id, root.certainty) == ("validation-failing", "certain")
    assert root.cause.clusters == ("cluster2",)
    assert reason in root.cause.statement
    assert remedy in root.cause.remedy
    assert root.consequences == ("CONTROL-4", "TRAFFIC-3")
    assert any("no caBundle" in each.seen for each in root.cause.evidence)


def test_on_one_network_what_takes_several_is_no_cause() -> None:
    unnamed = both(
        of("cluster1", pods=each(HELLOWORLD, proxy=plus({"network": ""}))),
        of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN)),
    )(recorded(SHARED))
    against = (FINDING, replace(FINDING, cluster="cluster2"))
    failures = dict.fromkeys(("CONTROL-3", "DISCOVERY-2"), against)
    assert diagnose(unnamed.scenario, unnamed.facts, failures).ids == (UNKNOWN,)
    for requirement in ("SECURITY-1", "AUTHZ-1"):
        (root,) = diagnose(unnamed.scenario, unnamed.facts, {requirement: against}).roots
        assert root.id == "mtls-disabled"
        assert root.cause.statement.endswith("it does not know who asks")


def test_every_cause_that_a_rule_can_find_is_found_in_some_case() -> None:
    assert {cause for _, _, cause in CASES.values()} >= {kind.id for kind in KINDS}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"*.payments.svc.cluster.local": True}, True),
        ({"*.kube-system.svc.cluster.local": True}, False),
        ({"*.payments.svc.cluster.local": False}, False),
    ],
)
def test_what_is_local_by_default_differs_from_nothing(
    settings: Mapping[str, bool], found: bool
) -> None:
    one, other = istiods("cluster1", cluster_local={}), istiods("cluster2", cluster_local=settings)
    differs = diagnosed(both(one, other), "SCOPE-1").ids
    assert ("cluster-local-differs" in differs) == found


def test_services_that_all_istiods_keep_to_their_namespace_are_no_cause() -> None:
    alike = both(istiods("cluster1", exported_to=(".",)), istiods("cluster2", exported_to=(".",)))
    assert diagnosed(alike, "SCOPE-1").ids == (UNKNOWN,)


def test_who_shall_not_have_dns_proxying_needs_none() -> None:
    assert diagnosed(with_dns_proxying, "SCOPE-2").ids == (UNKNOWN,)
    without_it = of_each(pods=each(SLEEP, answers_dns=False))
    assert diagnosed(without_it, "SCOPE-2").ids == (UNKNOWN,)


def test_exports_are_no_cause_where_nobody_needs_them() -> None:
    assert diagnosed(with_exports, "MCS-1").ids == (UNKNOWN,)
    assert diagnosed(with_exports, "DISCOVERY-2").ids == (UNKNOWN,)
    unexported = of("cluster2", exported=lambda known: False)
    assert diagnosed(unexported, "DISCOVERY-2").ids == (UNKNOWN,)
    nobody_heeds = told("cluster1", ENABLE_MCS_SERVICE_DISCOVERY="false")
    found = diagnosed(both(with_exports, unexported, nobody_heeds), "DISCOVERY-2")
    assert "service-not-exported" not in found.ids


def test_an_existing_mesh_may_do_without_names_in_the_cluster_set() -> None:
    without = both(*(told(name, ENABLE_MCS_HOST="false") for name in ("cluster1", "cluster2")))
    of_lab = of_each(parts=lambda known: ())
    assert diagnosed(both(with_exports, without, of_lab), "MCS-1").ids == ("mcs-off",)
    existing = of_each(parts=lambda known: None)
    assert diagnosed(both(with_exports, without, existing), "MCS-1").ids == (UNKNOWN,)
    one = both(with_exports, told("cluster2", ENABLE_MCS_HOST="false"), existing)
    assert diagnosed(one, "MCS-1").ids == ("mcs-off",)


def diagnosed(change: Change, *failed: str) -> Diagnosis:
    changed = change(recorded(MULTI))
    return diagnose(changed.scenario, changed.facts, dict.fromkeys(failed, (FINDING,)))


def test_who_lacks_which_root_is_named() -> None:
    found = diagnosed(signing_below(OTHER_ROOT, trusting=(OTHER_ROOT, COMMON_ROOT)), "TRUST-1")
    cause = found.roots[0].cause
    assert cause.clusters == ("cluster1",)
    assert cause.statement == (
        f"cluster1 does not trust {OTHER_ROOT}, below which cluster2 signs: it trusts "
        f"{COMMON_ROOT} only"
    )


def test_what_cannot_be_signed_with_is_neither_unused_nor_of_another_root() -> None:
    def unsound(known: Authority) -> Authority:
        changed = replace(known, below=(OTHER_ROOT,), roots=(OTHER_ROOT,))
        return replace(changed, defects=("valid from tomorrow",))

    found = diagnosed(of("cluster2", authority=unsound), "TRUST-1", "TRUST-2")
    assert found.ids[0] == "cacerts-unsound"
    assert not {*found.ids} & {"different-roots", "cacerts-unused", "proxies-not-restarted"}


def named_causes(found: Diagnosis) -> set[str]:
    """Ids of root causes, and of what follows from them."""
    return {*found.ids, *(each.id for root in found.roots for each in root.followed_by)}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,)), "different-roots"),
        (CASES["no cacerts, and another root"][1], "cacerts-missing"),
        (of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}), "cacerts-unused"),
        (of("cluster2", proxies=each(is_any, roots=(OTHER_ROOT,))), "proxies-not-restarted"),
        (of("cluster2", proxies=each(is_any, lifetime=128.0)), "certificates-short-lived"),
    ],
)
def test_an_authority_that_signs_for_no_proxy_is_no_cause(change: Change, kind: str) -> None:
    failed = ("TRUST-1", "TRUST-2", "RESILIENCE-3")
    assert kind in named_causes(diagnosed(change, *failed))
    spire = both(change, served_elsewhere("cluster2"))
    assert kind not in named_causes(diagnosed(spire, *failed))


def test_one_of_two_authorities_of_proxies_may_be_spire() -> None:
    change = both(
        signing_below(OTHER_ROOT, trusting=(COMMON_ROOT, OTHER_ROOT)), served_elsewhere("cluster2")
    )
    (root,) = diagnosed(change, "TRUST-1").roots
    assert root.id == "trust-bundles-differ"
    assert root.cause.statement == (
        f"proxies of cluster1 do not trust {OTHER_ROOT}, below which proxies of cluster2 have "
        f"their certificates: they trust {COMMON_ROOT}"
    )


@pytest.mark.parametrize(
    "change",
    [
        of("cluster2", proxies=each(is_any, roots=(OTHER_ROOT, COMMON_ROOT))),
        of("cluster2", proxies=each(is_any, below=(OTHER_ROOT,))),
        of("cluster2", proxies=each(is_any, below=(), roots=())),
    ],
    ids=["more roots", "path to no root", "no certificates"],
)
def test_trust_bundles_differ_only_where_a_root_is_missing(change: Change) -> None:
    spire = both(change, served_elsewhere("cluster1"), served_elsewhere("cluster2"))
    assert "trust-bundles-differ" not in named_causes(diagnosed(spire, "TRUST-1"))


def test_pods_that_have_the_root_from_elsewhere_wait_for_no_bundle() -> None:
    missing = of(
        "cluster2",
        root_bundles={},
        pods=each(HELLOWORLD, serving=False, state="1/2 Running", wants_bundle=False),
    )
    assert "root-bundle-missing" not in named_causes(diagnosed(missing, "WORKLOAD-1"))


def test_a_remote_without_the_usual_bundle_may_have_another() -> None:
    elsewhere = each(lambda one: one.proxy is not None, wants_bundle=False)
    attached = both(of("cluster1", pods=elsewhere), of("cluster2", pods=elsewhere, root_bundles={}))
    changed = attached(recorded(REMOTE))
    found = diagnose(changed.scenario, changed.facts, {"CONTROL-2": (FINDING,)})
    assert "remote-not-attached" not in named_causes(found)


def test_an_authority_that_signs_for_some_proxies_is_a_cause() -> None:
    change = signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,))
    some = both(change, served_elsewhere("cluster2", but="sleep"))
    assert "different-roots" in diagnosed(some, "TRUST-1", "TRUST-2").ids


@pytest.mark.parametrize(
    "change",
    [
        of(
            "cluster1",
            authority=lambda known: replace(known, roots=(COMMON_ROOT, OTHER_ROOT)),
            root_bundles={"istio-system": (COMMON_ROOT, OTHER_ROOT)},
        ),
        both(
            of("cluster1", authority=Authority(present=False)),
            of("cluster2", authority=Authority(present=False)),
        ),
        of("cluster2", authority=Authority(present=False)),
        both(
            of("cluster2", authority=lambda known: replace(known, below=(OTHER_ROOT,))),
            of("cluster1", proxies=each(is_any, roots=(COMMON_ROOT, OTHER_ROOT))),
            of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}),
            of("cluster2", proxies=each(is_any, roots=(COMMON_ROOT, OTHER_ROOT))),
        ),
    ],
    ids=["a root being rotated", "no cacerts at all", "no cacerts in one", "roots of a mesh"],
)
def test_what_proxies_accept_is_no_cause(change: Change) -> None:
    assert diagnosed(change, "TRUST-1").ids == (UNKNOWN,)


@pytest.mark.parametrize(
    "message",
    [
        'admission webhook "limits.policies.example" denied the request: no memory limit',
        'Internal error occurred: failed calling webhook "limits.policies.example": refused',
        "pods is forbidden: ValidatingAdmissionPolicy 'webhooks' denied request: no memory limit",
    ],
)
def test_whom_policies_refuse_the_injector_has_not_refused(message: str) -> None:
    refused = replace(FAILED_CREATE, message=message)
    change = of("cluster2", warnings=adding(refused), pods=without(HELLOWORLD))
    recording = change(recorded(MULTI))
    failures = {"WORKLOAD-1": (FINDING,)}
    assert "injection-failing" not in diagnose(recording.scenario, recording.facts, failures).ids


def unready(cluster: str, *names: str) -> Change:
    """Workloads whose pods wait, for the same reason."""
    events = [
        WarningEvent("sample", f"Pod/{pod.name}", "FailedMount", NOT_MOUNTED)
        for pod in recorded(MULTI).facts.clusters[cluster].pods or ()
        if pod.name.startswith(names)
    ]
    return of(
        cluster,
        pods=each(lambda pod: pod.name.startswith(names), serving=False, state="0/2 Pending"),
        deployments=each(lambda one: one.name.startswith(names), ready=0),
        warnings=adding(*events),
    )


def test_what_keeps_pods_from_starting_is_told_once() -> None:
    waiting = both(*(unready(each, "helloworld", "sleep") for each in ("cluster1", "cluster2")))
    recording = waiting(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"WORKLOAD-1": (FINDING,)})
    assert found.ids == ("workload-not-ready",)
    (root,) = found.roots
    assert 'configmap "istio-ca-root-cert" not found' in root.cause.statement
    assert root.cause.clusters == ("cluster1", "cluster2")


def test_reasons_that_differ_are_causes_that_differ() -> None:
    unpulled = of(
        "cluster1",
        pods=each(named("sleep"), serving=False, trouble="sleep: ImagePullBackOff"),
        deployments=each(named("sleep"), ready=0),
    )
    recording = both(unready("cluster2", "helloworld"), unpulled)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"WORKLOAD-1": (FINDING,)})
    assert [root.id for root in found.roots] == ["workload-not-ready", "workload-not-ready"]


def test_what_has_recovered_is_no_evidence() -> None:
    an_hour = "2000-01-01T00:00:00Z"
    recording = of(
        "cluster2",
        warnings=adding(
            FAILED_CREATE,
            WarningEvent("sample", "Service/helloworld", "Odd", "long ago", an_hour),
        ),
    )(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == (UNKNOWN,)
    texts = " ".join(each.seen for each in found.roots[0].cause.evidence)
    assert "FailedCreate" not in texts
    assert "long ago" not in texts


REFUSAL = "error ads Failed to authenticate client from 10.68.0.8:5{}: no token"


@pytest.mark.parametrize("all_connected", [True, False])
def test_clients_that_istiod_refuses_count_where_one_of_the_mesh_may_be_among_them(
    all_connected: bool,
) -> None:
    changed = {} if all_connected else {"connected": lambda known: known[1:]}
    lines = tuple(REFUSAL.format(port) for port in (1000, 2000))
    recording = istiods("cluster1", log=lines, **changed)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    refusals = [each for each in found.roots[0].cause.evidence if "authenticate" in each.seen]
    assert len(refusals) == (0 if all_connected else 1)


def test_what_stops_istiod_is_above_its_not_running() -> None:
    recording, _ = recording_of("an istiod that ends again and again")
    stopped = of("cluster2", deployments=each(named("istiod"), ready=0))(recording)
    found = diagnose(stopped.scenario, stopped.facts, {"CONTROL-1": (FINDING,)})
    assert found.ids == ("istiod-crashing",)
    assert [each.id for each in found.roots[0].followed_by] == ["istiod-not-running"]
    unsound = of(
        "cluster2", authority=lambda known: replace(known, defects=("valid from tomorrow",))
    )(stopped)
    found = diagnose(unsound.scenario, unsound.facts, {"CONTROL-1": (FINDING,)})
    assert found.ids == ("cacerts-unsound",)
    assert found.roots[0].consequences == ("CONTROL-1",)


def test_a_service_that_has_the_label_alone_is_none_of_the_gateways() -> None:
    """Such as an ingress gateway whose Helm values label everything with the network."""
    recording = recorded(MULTI)
    (gateway,) = recording.facts.clusters["cluster2"].gateway_pods
    ingress = replace(gateway, name="users-1", labels={"app": "users"})
    beyond = replace(
        LABELLED, name="users", selector={"app": "users"}, ports=(ServicePort(443, "", ""),)
    )
    changed = of("cluster2", services=adding(beyond), pods=adding(ingress))(recording)
    facts = changed.facts.clusters["cluster2"]
    assert facts.gateway_services == (LABELLED,)
    assert facts.gateway_pods == (gateway,)
    alone = replace(facts, services=(beyond,))
    assert (alone.gateway_services, alone.gateway_pods) == ((beyond,), (ingress,))


def another(**fields: Any) -> Change:
    """Another remote secret of cluster2 in cluster1."""

    def added(known: tuple[RemoteSecret, ...]) -> tuple[RemoteSecret, ...]:
        (first,) = known
        return (first, replace(first, **{"name": "copy", **fields}))

    return of("cluster1", remote_secrets=added)


def read_by(name: str) -> Change:
    return istiods("cluster1", secrets={"cluster2": f"istio-system/{name}"})


DELETING = "kubectl --context=cluster1 -n istio-system delete secret copy"


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (both(another(accepted=False), read_by("copy")), f"{DELETING}, and have istiod read"),
        (both(secret(name="copy", accepted=False), read_by("copy")), f"{DELETING}, and make it"),
        (both(secret(accepted=False), read_by(SECRET_OF_2)), "the token was revoked: make it"),
    ],
)
def test_the_secret_that_is_dead_is_named(change: Change, remedy: str) -> None:
    found = diagnosed(change, "DISCOVERY-1")
    assert found.ids == ("remote-secret-unauthorized",)
    name = "copy" if "copy" in remedy else SECRET_OF_2
    assert f"the token in {name}, " in found.roots[0].cause.statement
    assert remedy in found.roots[0].cause.remedy


NAMED_K2 = {"name": "earlier", "cluster": "k2", "accepted": True}


def test_a_cluster_that_is_read_by_another_name_only() -> None:
    renamed = istiods("cluster1", clusters={"cluster1": "synced", "k2": "synced"})
    found = diagnosed(both(secret(**NAMED_K2), renamed), "DISCOVERY-1")
    assert found.ids == ("remote-secret-wrong-cluster",)
    cause = found.roots[0].cause
    assert "cluster1 reads cluster2 by another name than the mesh's, k2" in cause.statement
    assert "delete secret earlier, and make it again" in cause.remedy
    assert "--context=cluster2 --name=cluster2" in cause.remedy
    assert "--context=k2" not in cause.remedy


def test_a_cluster_that_is_read_by_another_name_too() -> None:
    found = diagnosed(another(**NAMED_K2), "DISCOVERY-1")
    assert found.ids == ("remote-secret-wrong-cluster",)
    assert found.roots[0].cause.remedy.endswith("delete secret earlier")


def test_whose_authority_several_clusters_share_need_not_be_one_of_them() -> None:
    found = diagnosed(another(**{**NAMED_K2, "accepted": False}), "DISCOVERY-1")
    assert "remote-secret-wrong-cluster" not in found.ids


def test_a_dead_secret_that_is_not_in_use_is_no_cause() -> None:
    change = both(another(accepted=False), read_by(SECRET_OF_2))
    assert diagnosed(change, "DISCOVERY-1").ids == (UNKNOWN,)


def test_what_an_unsound_authority_has_signed_is_refused_by_those_who_call_the_injector() -> None:
    broken, _ = recording_of("a webhook that cannot be called")
    unsound = of(
        "cluster2",
        authority=lambda known: replace(known, defects=("pathlen:0",)),
        root_bundles={"istio-system": (OTHER_ROOT,)},
    )
    recording = unsound(broken)
    failures = dict.fromkeys(("TRUST-1", "WORKLOAD-1"), (FINDING,))
    found = diagnose(recording.scenario, recording.facts, failures)
    assert found.ids == ("cacerts-unsound",)
    assert "injection-failing" in [each.id for each in found.roots[0].followed_by]
    assert found.roots[0].consequences == ("TRUST-1", "WORKLOAD-1")


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        *(
            (
                both(
                    istiods("cluster1", trust_domains=TrustDomains("one", of_first)),
                    istiods("cluster2", trust_domains=TrustDomains("two", of_last)),
                ),
                "trust-domains-differ",
            )
            for of_first, of_last in (
                (("two",), ("one",)),
                (None, None),
                (("two",), None),
            )
        ),
        (istiods("cluster1", cluster_local={"*": True}), "services-cluster-local"),
        (
            istiods(
                "cluster1",
                selectors=(
                    Selector({"istio-injection": "enabled"}),
                    Selector({}, ((NETWORK_LABEL, "Exists", ()),)),
                ),
            ),
            "namespace-not-selected",
        ),
        (
            istiods(
                "cluster1", cluster_local={"*": True, "helloworld.sample.svc.cluster.local": False}
            ),
            "services-cluster-local",
        ),
        (
            of("cluster2", namespaces=each(SYSTEM, labels=minus(NETWORK_LABEL))),
            "network-label-missing",
        ),
        (of("cluster2", pods=each(HELLOWORLD, proxy=plus({"mesh": "b"}))), "proxy-identity-wrong"),
        (of("cluster2", warnings=adding(FAILED_CREATE)), "injection-failing"),
        (
            both(
                of("cluster1", services=each(GATEWAY, external=("10.0.0.1",))),
                of(
                    "cluster2",
                    services=each(
                        GATEWAY, external=("10.0.0.1",), labels=plus({GATEWAY_PORT_LABEL: "15444"})
                    ),
                ),
            ),
            "gateway-address-shared",
        ),
        (unanswered("gateway", "cluster1", "cluster2", port=15021), "gateway-unreachable"),
        (
            of(
                "cluster2",
                deployments=adding(
                    Deployment("istio-system", "old", {}, 0, 0, {"istio": "eastwestgateway"})
                ),
            ),
            "gateway-scaled-to-zero",
        ),
        (of("cluster2", deployments=each(named("istiod"), wanted=3)), "istiod-not-running"),
        (of("cluster2", pods=without(GATEWAY), deployments=without(GATEWAY)), "gateway-missing"),
        (
            of("cluster2", services=adding(replace(LABELLED, name="extra", external=()))),
            "gateway-address-pending",
        ),
        (
            of(
                "cluster2",
                configuration=each(
                    lambda one: one.kind == "Gateway", spec=plus({"selector": {"istio": "old"}})
                ),
            ),
            "gateway-selector-mismatch",
        ),
        (
            of("cluster2", services=each(GATEWAY, external=("gw.example",))),
            "gateway-host-name-unresolved",
        ),
        *(
            (
                of("cluster2", services=each(GATEWAY, labels=plus({GATEWAY_PORT_LABEL: "443"}))),
                each_,
            )
            for each_ in ("services-not-exposed", "gateway-not-listening", "gateway-port-missing")
        ),
        (of("cluster1", remote_secrets=()), "remote-secret-missing"),
        (secret(namespace="elsewhere"), "remote-secret-namespace-wrong"),
        (secret(server="https://127.0.0.1:6443"), "remote-secret-loopback-server"),
        (secret(leads_to="", accepted=None), "remote-secret-certificate-refused"),
        (
            istiods("cluster1", log=("error x509: certificate signed by unknown authority",)),
            "remote-secret-certificate-refused",
        ),
        (
            both(secret(server="https://10.9.9.9:6443"), opened("10.9.9.9"), unsynced("cluster2")),
            "remote-secret-unreachable-server",
        ),
        *(
            (of("cluster1", configuration=configured("Sidecar", "x", spec, where)), "sidecar-scope")
            for where, spec in (
                ("istio-system", {"egress": [{"hosts": ["./*", "istio-system/*"]}]}),
                ("sample", {"egress": [{"hosts": ["istio-system/*"]}]}),
            )
        ),
        (
            both(
                of(
                    "cluster1",
                    client=KNOWING_NOTHING,
                    configuration=adding(
                        *(
                            Configuration("Sidecar", where, "x", {"egress": [{"hosts": hosts}]})
                            for where, hosts in (
                                ("istio-system", ["istio-system/*"]),
                                ("sample", ["./*"]),
                            )
                        )
                    ),
                ),
            ),
            "sidecar-scope",
        ),
        *(
            (
                of("cluster1", configuration=configured(kind, "x", spec, "payments")),
                refuted,
            )
            for kind, spec, refuted in (
                (
                    "DestinationRule",
                    {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
                    "client-tls-disabled",
                ),
                (
                    "VirtualService",
                    {
                        "hosts": ["*.local"],
                        "exportTo": ["."],
                        "http": [{"fault": {"abort": {"httpStatus": 503}}}],
                    },
                    "route-fault",
                ),
            )
        ),
        (
            istiods("cluster1", unsynced=("cluster1/web-1.shop LDS rejected: no such filter",)),
            "configuration-rejected",
        ),
        (
            of(
                "cluster2",
                warnings=adding(
                    replace(
                        FAILED_CREATE,
                        message='admission webhook "p.example.com" denied the request: webhook',
                    )
                ),
                deployments=each(HELLOWORLD, ready=0),
            ),
            "injection-failing",
        ),
        (of("cluster2", deployments=without(HELLOWORLD)), "workload-missing"),
        (
            of("cluster2", deployments=each(HELLOWORLD, paused=True, pod_labels=NO_INJECTION)),
            "rollout-paused",
        ),
        (
            parts("cluster2", Part("metallb-system", "controller-1", "0/1 Pending", False)),
            "lab-load-balancer-failing",
        ),
        (
            reading("*.istio.io", f"x.example, {POLICIES}"),
            "authorization-ignored",
        ),
        (reading("*.networking.istio.io"), "authorization-ignored"),
        *(
            (change, "gateway-tls-not-passed-through")
            for change in (
                in_front(http=503, own_http=404),
                both(in_front(http=503), shown(WORKLOAD, {})),
                both(in_front(http=503), exchanged(connections=2, failed=1)),
                shown(LOAD_BALANCER, LOAD_BALANCER),
                shown(WORKLOAD, WORKLOAD),
                shown({}, {}),
            )
        ),
        (
            both(reading(POLICIES), of("cluster1", deployments=each(named("istiod"), wanted=0))),
            "authorization-ignored",
        ),
    ],
)
def test_evidence_that_contradicts_a_cause_refutes_it(change: Change, refuted: str) -> None:
    recording = change(recorded(MULTI))
    everything = dict.fromkeys(EVERYTHING, (FINDING,))
    assert refuted not in diagnose(recording.scenario, recording.facts, everything).ids
