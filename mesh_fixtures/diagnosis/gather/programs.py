"""What istiods and proxies say of themselves, as facts.

Source: Istio, Debugging Envoy and Istiod; Envoy, Administration interface.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.alike import distinct
from mesh_fixtures.diagnosis.facts import ClusterFacts
from mesh_fixtures.diagnosis.gather.api_objects import roots_of
from mesh_fixtures.diagnosis.gather.batch import Query
from mesh_fixtures.diagnosis.redaction import redacted
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import HttpAnswer, KubeClient, Meta, Pod
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.probe import lost_services
from mesh_fixtures.probe.answers import answer_in
from mesh_fixtures.probe.envoy import (
    PROXY,
    Counters,
    admin,
    counters,
    denied,
    helloworld,
    host_of,
    listeners,
    read_endpoints,
    wanting_proxy_protocol,
)
from mesh_fixtures.probe.gateways import NETWORKS_PATH, read_advertised
from mesh_fixtures.probe.identities import (
    TrustDomains,
    accepts_any,
    identity,
    read_trust_domains,
)
from mesh_fixtures.probe.istiod import CONTAINER, MESH_PATH, debug, read_clusters
from mesh_fixtures.probe.service_scopes import exported_to, settings_in
from mesh_fixtures.probe.shards import shards_of, slices
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.xds import SYNC_PATH, read_clients

Key = tuple[str, ...]
"""What is asked, of which cluster, pod, and part of it."""

ISTIOD: Final = {"app": "istiod"}
_LOG_LINES: Final = 400
_LOG_KEPT: Final = 12
_TEXT_KEPT: Final = 300
_LAST_LINES: Final = 60
_PANIC: Final = re.compile(r"^(panic|fatal error): ")
_FATAL: Final = re.compile(r"^Error: |\t(error|fatal)\t")
_LEVEL: Final = re.compile(r"^\S+\t(warn|warning|error|critical|fatal)\t")


def gateway_queries(view: MeshView, clusters: Mapping[str, ClusterFacts]) -> dict[Key, Query[Any]]:
    """Which gateways each istiod knows."""
    found: dict[Key, Query[Any]] = {}
    for name, kube in view.kube.items():
        for pod in clusters[name].pods_in(kube.names.system_namespace, ISTIOD):
            if pod.serving:
                ask = partial(_gateways_of, kube, as_pod(pod))
                source = f"{_shown(kube, pod)} {NETWORKS_PATH}"
                found["istiod", name, pod.name, "gateways"] = Query(name, source, ask)
    return found


def advertised(answers: Mapping[Key, Any]) -> tuple[facts.NetworkGateway, ...]:
    """Every gateway that an istiod knows, once."""
    return tuple(
        dict.fromkeys(
            gateway
            for key, answer in answers.items()
            if key[-1] == "gateways"
            for gateway in answer or ()
        )
    )


def queries(view: MeshView, clusters: Mapping[str, ClusterFacts]) -> dict[Key, Query[Any]]:
    """What to ask of the programs that run in each cluster."""
    found: dict[Key, Query[Any]] = {}
    for name, kube in view.kube.items():
        found["slices", name] = Query(
            name, f"kubectl --context={name} get endpointslices", partial(_slices, kube)
        )
        for pod in clusters[name].pods_in(kube.names.system_namespace, ISTIOD):
            for part, source, ask in _of_istiod(kube, pod):
                found["istiod", name, pod.name, part] = Query(name, source, ask)
        for pod in _proxies(clusters[name], kube.sample_namespace):
            if pod.serving:
                is_gateway = pod in clusters[name].gateway_pods
                for part, source, ask in _of_proxy(kube, pod, is_gateway=is_gateway):
                    found[part, name, pod.name] = Query(name, source, ask)
            elif pod.ip:
                source = _log_of(kube, pod)
                found["waiting", name, pod.name] = Query(name, source, partial(_waits, kube, pod))
    return found


def lost_queries(view: MeshView) -> dict[Key, Query[Any]]:
    """Which services istiods have lost."""
    scenario = view.scenario
    if not any(lost_services.judged_in(scenario, each.name) for each in scenario.primaries):
        return {}
    asking = scenario.primaries[0].name
    source = "pilot-discovery request GET /debug/endpointShardz in each istiod"
    return {("lost", asking): Query(asking, source, partial(_lost, view))}


def lost(answers: Mapping[Key, Any]) -> tuple[facts.LostServices, ...]:
    """Services that an istiod holds nothing of."""
    return next((answer or () for key, answer in answers.items() if key[0] == "lost"), ())


def _lost(view: MeshView) -> tuple[facts.LostServices, ...]:
    found = lost_services.missing(view.scenario, lost_services.look(view))
    return tuple(
        facts.LostServices(
            each.reader,
            each.istiod,
            each.cluster,
            lost_services.in_order(each.services, view.lab.names.system_namespace),
            each.source.asked,
        )
        for each in lost_services.expected(view, found)
    )


def with_answers(
    view: MeshView, clusters: Mapping[str, ClusterFacts], answers: Mapping[Key, Any]
) -> dict[str, ClusterFacts]:
    """Facts of all clusters with the answers."""
    return {
        name: replace(
            each,
            istiods=tuple(_istiods(name, each, view.lab.names.system_namespace, answers))
            if each.pods is not None
            else None,
            helloworld=answers.get(("slices", name)),
            client=_client(view.kube[name], each, answers),
            gateways=_answered("listeners", name, answers),
            proxies=_answered("identity", name, answers),
            waiting=_answered("waiting", name, answers),
        )
        for name, each in clusters.items()
    }


def _proxies(cluster: ClusterFacts, samples: str) -> Iterator[facts.Pod]:
    for pod in (*cluster.pods_in(samples, {}), *cluster.gateway_pods):
        if pod.proxy is not None:
            yield pod


def _waits(kube: KubeClient, pod: facts.Pod) -> facts.WaitingProxy:
    log = kube.log(pod.namespace, pod.name, PROXY, lines=_LOG_LINES)
    discovery = (pod.proxy or {}).get("discovery", "")
    return facts.WaitingProxy(
        pod.name, pod.namespace, discovery, _relevant(log), _log_of(kube, pod)
    )


def _log_of(kube: KubeClient, pod: facts.Pod) -> str:
    return f"kubectl --context={kube.name} -n {pod.namespace} logs {pod.name} -c {PROXY}"


def as_pod(pod: facts.Pod) -> Pod:
    """A pod that can be asked, of what is known of it."""
    meta = Meta(pod.name, pod.namespace, pod.labels)
    return Pod(meta, pod.ip, "Running", False, pod.serving, ())


def _of_istiod(kube: KubeClient, pod: facts.Pod) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    istiod = as_pod(pod)
    where = f"--context={kube.name}"

    def clusters() -> dict[str, Mapping[str, str]]:
        answer = debug(kube, istiod, "/debug/clusterz")
        known = read_clusters(answer.source, pod.name, answer.text)
        return {
            "clusters": {each.id: each.sync_status for each in known.clusters},
            "secrets": {each.id: each.secret for each in known.clusters if each.secret},
        }

    def connected() -> tuple[tuple[str, ...], tuple[str, ...]]:
        answer = debug(kube, istiod, SYNC_PATH)
        clients = read_clients(answer.source, answer.text)
        return (
            tuple(f"{each.cluster_id}/{each.proxy}" for each in clients.values()),
            tuple(
                f"{each.cluster_id}/{each.proxy} {kind} {state}"
                for each in clients.values()
                for kind, state in each.states.items()
                if state == "stale" or state.startswith("rejected")
            ),
        )

    def mesh() -> dict[str, Any]:
        answer = debug(kube, istiod, MESH_PATH)
        of_pod = kube.get(PODS, pod.namespace, pod.name)
        domains = read_trust_domains(
            answer.source, answer.text, accepts_any=of_pod is not None and accepts_any(of_pod)
        )
        configuration = answer_in(answer.text)
        selectors = tuple(map(Selector.read, configuration.get("discoverySelectors") or ()))
        return {
            "cluster_local": settings_in(configuration),
            "trust_domains": _accepted(domains),
            "selectors": selectors,
            "exported_to": exported_to(configuration),
            "auto_mtls": configuration.get("enableAutoMtls") is not False,
        }

    if pod.serving:
        yield "clusters", f"istioctl {where} remote-clusters", clusters
        yield "connected", f"istioctl {where} proxy-status", connected
        yield (
            "helloworld",
            f"{_shown(kube, pod)} /debug/endpointShardz",
            lambda: shards_of(kube, istiod).endpoints,
        )
        yield "mesh", f"{_shown(kube, pod)} {MESH_PATH}", mesh
    if pod.restarts:
        yield (
            "last_words",
            f"kubectl {where} -n {pod.namespace} logs {pod.name} --previous",
            lambda: _last_words(
                kube.log(pod.namespace, pod.name, CONTAINER, lines=_LAST_LINES, previous=True)
            ),
        )
    yield (
        "log",
        f"kubectl {where} -n {pod.namespace} logs {pod.name}",
        lambda: _relevant(kube.log(pod.namespace, pod.name, CONTAINER, lines=_LOG_LINES)),
    )


def _shown(kube: KubeClient, istiod: facts.Pod) -> str:
    where = f"--context={kube.name} -n {istiod.namespace}"
    return f"kubectl {where} exec {istiod.name} -- pilot-discovery request GET"


def _gateways_of(kube: KubeClient, istiod: Pod) -> tuple[facts.NetworkGateway, ...]:
    return _network_gateways(debug(kube, istiod, NETWORKS_PATH))


def _of_proxy(
    kube: KubeClient, pod: facts.Pod, *, is_gateway: bool
) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    asked = as_pod(pod)
    shown = f"istioctl --context={kube.name} proxy-config {{}} {pod.name}.{pod.namespace}"

    def listening() -> facts.Listening:
        seen = listeners(kube, asked)
        refused: int | None = None
        with suppress(ProbeError):
            refused = denied(kube, asked)
        wanting: frozenset[int] = frozenset()
        with suppress(ProbeError):
            wanting = wanting_proxy_protocol(kube, asked)
        ports, source = tuple(sorted(seen.ports)), seen.source.asked
        return facts.Listening(pod.name, ports, source, refused, tuple(sorted(wanting)))

    def identified() -> facts.ProxyIdentity:
        seen = identity(kube, asked)
        source = shown.format("secret")
        if seen is None:
            return facts.ProxyIdentity(pod.name, source, served_elsewhere=pod.served_elsewhere)
        return facts.ProxyIdentity(
            pod.name,
            source,
            issuing="" if seen.issuing is None else seen.issuing.subject,
            below=roots_of(seen.material.path),
            roots=roots_of(seen.roots),
            lifetime=(seen.leaf.not_after - seen.leaf.not_before).total_seconds(),
            validity=(seen.leaf.not_before.timestamp(), seen.leaf.not_after.timestamp()),
            served_elsewhere=pod.served_elsewhere,
        )

    yield "identity", shown.format("secret"), identified
    if is_gateway:
        yield "listeners", shown.format("listeners"), listening
    elif pod.labels.get("app") == "sleep":
        yield "endpoints", shown.format("endpoints"), lambda: _endpoints(kube, asked)
        yield "routes", shown.format("routes"), lambda: _routes(kube, asked)


def _istiods(
    name: str, cluster: ClusterFacts, system: str, answers: Mapping[Key, Any]
) -> Iterator[facts.Istiod]:
    for pod in cluster.pods_in(system, ISTIOD):

        def answer(part: str, of: str = pod.name) -> Any:
            return answers.get(("istiod", name, of, part))

        connected = answer("connected")
        yield facts.Istiod(
            pod=pod.name,
            connected=connected[0] if connected else None,
            unsynced=connected[1] if connected else (),
            gateways=answer("gateways"),
            helloworld=answer("helloworld"),
            log=answer("log"),
            last_words=answer("last_words") or "",
            **(answer("clusters") or {"clusters": None}),
            **(answer("mesh") or {}),
        )


def _client(
    kube: KubeClient, cluster: ClusterFacts, answers: Mapping[Key, Any]
) -> facts.Client | None:
    name, samples = kube.name, kube.sample_namespace
    for pod in cluster.pods_in(samples, {"app": "sleep"}):
        if ("endpoints", name, pod.name) in answers:
            return facts.Client(
                pod=pod.name,
                endpoints=answers["endpoints", name, pod.name],
                routes=answers["routes", name, pod.name],
                source=f"istioctl --context={name} proxy-config endpoints {pod.name}.{samples} "
                f"--cluster '{helloworld(kube)}'",
            )
    return None


def _answered(what: str, cluster: str, answers: Mapping[Key, Any]) -> tuple[Any, ...]:
    return tuple(
        answer
        for (part, name, *_), answer in answers.items()
        if part == what and name == cluster and answer is not None
    )


def _network_gateways(answer: HttpAnswer) -> tuple[facts.NetworkGateway, ...]:
    return tuple(
        facts.NetworkGateway(each.network, each.cluster, each.address, each.port)
        for each in read_advertised(answer.source, answer.text)
    )


def _slices(kube: KubeClient) -> facts.SliceAddresses:
    found = slices(kube)
    ready, not_ready = (tuple(sorted(each)) for each in (found.ready, found.not_ready))
    return facts.SliceAddresses(kube.sample_namespace, ready, not_ready)


def _endpoints(kube: KubeClient, pod: Pod) -> tuple[facts.Endpoint, ...]:
    cluster = helloworld(kube)
    pattern = quote(f"^{re.escape(cluster)}$", safe="")
    source, answer = admin(kube, pod, f"clusters?format=json&filter={pattern}")
    counted = counters(answer)
    return tuple(
        facts.Endpoint(
            target=each.target,
            weight=each.weight,
            priority=each.priority,
            locality=each.locality,
            health=each.health,
            **asdict(counted.get(each.target, Counters())),
        )
        for each in read_endpoints(source, cluster, answer).endpoints
    )


def _routes(kube: KubeClient, pod: Pod) -> Mapping[str, int]:
    _, answer = admin(kube, pod, "config_dump?resource=dynamic_route_configs")
    name = host_of(kube)
    routes = [
        route.get("route") or {}
        for each in answer.get("configs") or ()
        for virtual in each.get("route_config", {}).get("virtual_hosts") or ()
        if name in virtual.get("domains", ())
        for route in virtual.get("routes") or ()
    ]
    found: dict[str, int] = {}
    for route in routes:
        if "cluster" in route:
            found.setdefault(route["cluster"], 100)
        for each in (route.get("weighted_clusters") or {}).get("clusters") or ():
            found.setdefault(each["name"], int(each.get("weight", 0)))
    return found


def _accepted(seen: TrustDomains) -> facts.TrustDomains:
    others = None if seen.accepts_any else (*seen.aliases, *seen.of_others)
    return facts.TrustDomains(seen.own, others)


def _relevant(log: str) -> tuple[str, ...]:
    """The last warnings and errors, of those that say the same the last one, without times of their
    own.
    """
    lines = [
        redacted(" ".join(line.split("\t")[1:]))[:_TEXT_KEPT]
        for line in log.splitlines()
        if _LEVEL.match(line)
    ]
    return tuple(reversed(list(islice(distinct(reversed(lines)), _LOG_KEPT))))


def _last_words(log: str) -> str:
    """Why a program ended, as its log says: the first line of a panic, else the last error, else
    the last line.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    panics = [line for line in lines if _PANIC.match(line)]
    errors = [line for line in lines if _FATAL.search(line)]
    last = panics[0] if panics else [*lines, *errors][-1] if lines else ""
    return redacted(" ".join(last.split()))[:_TEXT_KEPT]
