"""Changes of facts that were recorded of a real mesh, by as much as it takes for a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from diagnosis_recordings import recorded

from mesh_fixtures.diagnosis import Diagnosis, Recording, diagnose
from mesh_fixtures.diagnosis.facts import GATEWAY as TO_GATEWAY
from mesh_fixtures.diagnosis.facts import (
    GATEWAY_POD,
    ISTIOD_TLS,
    Client,
    Configuration,
    Exchanged,
    Failed,
    Handshake,
    LostServices,
    NetworkGateway,
    Part,
    Path,
    Root,
    Served,
    SliceAddresses,
    Traffic,
    WaitingProxy,
    WarningEvent,
)
from mesh_fixtures.install.gateway_api import NAME_LABEL
from mesh_fixtures.kube import Meta
from mesh_fixtures.kube.admission import Selector, Webhook, WebhookConfiguration
from mesh_fixtures.kube.clock import Clock
from mesh_fixtures.requirements import REQUIREMENTS
from mesh_fixtures.verdict.findings import Finding

MULTI = "healthy-multi-primary-multi-network"


REMOTE = "healthy-primary-remote-multi-network"


SHARED = "healthy-multi-primary"


Change = Callable[[Recording], Recording]


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


def knowing_own(client: Client) -> Client:
    """A client that knows endpoints of HelloWorld in its own cluster only: the others are at
    gateways.
    """
    known = [each for each in client.endpoints or () if not each.target.endswith(":15443")]
    return replace(client, endpoints=tuple(known))


def export_missed(client: str, server: str, *addresses: str) -> Change:
    """A cluster whose clients are not given the endpoints of another one, which istiod holds."""
    having = of(server, helloworld=SliceAddresses("sample", addresses))
    return both(with_exports, having, of(client, client=knowing_own))


def of_gateway_api(cluster: str) -> Change:
    """A cluster whose gateway istiod deployed for a Gateway of the Gateway API."""
    return of(
        cluster,
        configuration=lambda known: no("VirtualService")(no("Gateway")(known)),
        services=each(GATEWAY, labels=plus({NAME_LABEL: "eastwest"})),
    )


def silent(unread: Failed) -> Change:
    """Nothing was read of the second cluster."""
    known = dict.fromkeys(("namespaces", "pods", "services", "deployments"))
    return both(of("cluster2", **known), of_mesh(unread=adding(unread)))


def diagnosed(change: Change, *failed: str) -> Diagnosis:
    changed = change(recorded(MULTI))
    return diagnose(changed.scenario, changed.facts, dict.fromkeys(failed, (FINDING,)))
