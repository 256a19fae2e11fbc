"""HelloWorld and Sleep in a namespace made for the run in existing clusters.

They are deployed through the API servers, so that no kubectl is needed.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import yaml

from mesh_fixtures.contract import CLUSTER_DOMAIN, GUIDE_NAMES, Cluster, MeshNames
from mesh_fixtures.errors import LabError, NotAdmitted, NotPermitted, ProbeError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install.method import merged
from mesh_fixtures.install.names import PROXY_CONFIG, REVISION_LABEL
from mesh_fixtures.journal import Journal
from mesh_fixtures.kube import (
    Container,
    Event,
    KubeClient,
    KubeEditor,
    Pod,
)
from mesh_fixtures.kube.admission import refusal_in
from mesh_fixtures.kube.objects import NAME_LABEL, Json, encoded
from mesh_fixtures.kube.resources import (
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    PODS,
    SECRETS,
)
from mesh_fixtures.lab.kubeconfig import namespace as own
from mesh_fixtures.lab.kubeconfig import refusals
from mesh_fixtures.lab.kubeconfig.allotted_users import allotted_user
from mesh_fixtures.lab.kubeconfig.namespace_policies import NamespacePolicies, pods_of
from mesh_fixtures.lab.kubeconfig.overrides import (
    AS_THEY_ARE,
    PodOverrides,
    PullSecret,
    SampleOptions,
)
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.injectors import ENABLED, Injector, mesh_injectors
from mesh_fixtures.probe.peers import disclosing
from mesh_fixtures.probe.root_configuration import client_tls
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import (
    INJECTED,
    PLAIN_CLIENT,
    SERVICE,
    export_manifest,
    fresh_connections_manifest,
    helloworld_manifest,
    host,
    named_services,
    named_services_manifest,
    service_manifest,
    sleep_manifest,
    stateful_manifest,
)

READY_SECONDS: Final = 120.0
"""Nodes may have to pull the images first."""

MADE_SECONDS: Final = 45.0
"""After which pods with proxies that nobody has made are not waited for: their webhook does not
answer."""

CONFIGURED_SECONDS: Final = 10.0
"""For istiod to configure a proxy that runs, before it is asked whether policies let it in."""

_INTERVAL: Final = 0.5
_SHOWN: Final = 3
_OWN_CONTAINERS: Final = {
    "helloworld": "--mesh-helloworld-image",
    "sleep": "--mesh-sleep-image",
    PLAIN_CLIENT: "--mesh-sleep-image",
}
"""Options that choose their images."""

_STARTING: Final = ("ContainerCreating", "PodInitializing")
_NO_IMAGE: Final = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ErrImagePull")
GRACE_SECONDS: Final = 4
"""For HelloWorld and its proxy to end, which takes them less. Where the run may not delete its pods
itself, the namespace controller begins with them after 5 s, and looks again after half of their
grace (source: Kubernetes, `pkg/controller/namespace`)."""

ON_LINUX: Final = {"kubernetes.io/os": "linux"}
"""Nodes that run the images; those with Windows need no taint (Kubernetes: Windows in Kubernetes;
Well-Known Labels)."""

_TRIES_AGAIN: Final = "ErrImagePull"
_NOT_RETRIEVED: Final = "FailedToRetrieveImagePullSecret"


@dataclass(frozen=True)
class Order:
    """What is to be deployed.

    Attributes:
        lab: id of the lab that it belongs to.
        stopping: set when nothing more is to be made.
        names: of the mesh.
    """

    lab: str
    scenario: Scenario
    images: ImageSet
    options: SampleOptions
    journal: Journal
    stopping: threading.Event
    names: MeshNames = GUIDE_NAMES


def deploy(order: Order, cluster: Cluster, progress: Progress) -> None:
    """Deploy the workloads in a cluster, and wait until they are ready.

    Workloads that do not become ready although their images and nodes are all right are left for
    requirements to judge, since the mesh may be what is wrong with them.

    Raises:
        LabError: the cluster does not run them.
        ProbeError: the API server cannot be asked or refuses.
    """
    options = order.options
    name = own.name_of(order.lab, options.namespace)
    with KubeEditor(cluster, name, names=order.names) as kube:
        webhooks = mesh_injectors(kube)
        of_namespace = _have_namespace(order, kube, name, webhooks)
        domain = order.names.cluster_domain
        has_rule = order.scenario.has_choice_behind_gateway
        tls = client_tls(kube, host(name, cluster_domain=domain)) if has_rule else {}
        user = allotted_user(kube, name, lambda: _require_not_stopped(order, cluster.name))
        made = manifests(
            order.scenario, cluster.name, order.images, name, options.pods, domain, tls, user
        )
        configures = cluster.name in order.scenario.config_clusters
        pods = pods_of(made, name, of_namespace)
        policies = NamespacePolicies(kube, pods, progress, configures=configures)
        policies.look()
        accounts = [each for each in made if each["kind"] == "ServiceAccount"]
        others = [each for each in made if each not in accounts]
        injecting = frozenset(each.webhook.name for each in webhooks)
        for item in (*_copied(kube, options.pods.pull_secrets), *accounts):
            _create(kube, name, item, injecting, progress)
        admitted = refusals.require_admitted(kube, name, others, injecting)
        for note in admitted.not_tried:
            progress.note("sample", f"admission of {note}", kube.name)
        for item in (disclosed(each, admitted.pods) for each in others):
            _require_not_stopped(order, cluster.name)
            _create(kube, name, item, injecting, progress)
        for item in exports(order.scenario, cluster.name):
            _create_if_possible(kube, name, item, progress)
        with progress.within("samples").phase("sample-ready", cluster.name):
            deployments = [each["metadata"]["name"] for each in made if _is_deployment(each)]
            trouble = _await(order, kube, name, deployments, injecting, policies)
        # They come last, so that they take no room that a quota has for the others.
        named = with_host_names(order.scenario, cluster.name, order.images, options.pods, user)
        for item in named:
            _create_if_possible(kube, name, item, progress, (NotAdmitted, NotPermitted))
        while not policies.settled:
            _require_not_stopped(order, cluster.name)
            time.sleep(_INTERVAL)
            policies.look()
        policies.require_open(trouble)
        if trouble:
            progress.note("sample", f"not ready, which is for tests to judge: {trouble}", kube.name)


def _have_namespace(
    order: Order, kube: KubeEditor, name: str, webhooks: Sequence[Injector]
) -> Mapping[str, str]:
    """The labels of the run's namespace, which is made, or claimed where it is provided.

    Raises:
        LabError: it cannot be had.
        ProbeError: the API server cannot be asked or refuses.
    """
    there, options = kube.get(NAMESPACES, "", name), order.options
    if there is not None and own.is_provided(there):
        _require_not_stopped(order, kube.name)
        order.journal.record(own.entry(kube.name, name))
        own.claim(kube, name, order.lab)
        return there.meta.labels
    labels = namespace_labels(kube.name, webhooks, name, options.revision)
    _require_not_stopped(order, kube.name)
    order.journal.record(own.entry(kube.name, name))
    made = {**labels, **options.labels}
    own.make(kube, name, order.lab, made, options.annotations)
    return made


def manifests(
    scenario: Scenario,
    cluster: str,
    images: ImageSet,
    namespace: str,
    pods: PodOverrides = AS_THEY_ARE,
    cluster_domain: str = CLUSTER_DOMAIN,
    tls: Mapping[str, Any] = MappingProxyType({}),
    user: int | None = None,
) -> Sequence[Json]:
    """What a cluster gets, in the order of making.

    Args:
        tls: as `client_tls` of HelloWorld, where a rule of its own is made.
        user: that pods run as; None for the usual one.
    """
    spec = scenario.cluster(cluster)
    dual_stack = scenario.is_dual_stack
    texts = [service_manifest(dual_stack=dual_stack)]
    if scenario.has_choice_behind_gateway and cluster in scenario.config_clusters:
        texts.append(fresh_connections_manifest(namespace, cluster_domain, tls))
    if scenario.dns_proxying:
        position = scenario.position(cluster)
        texts.append(named_services_manifest(position, dual_stack=dual_stack))
    texts += [helloworld_manifest(spec.helloworld, images), sleep_manifest(images)]
    items = [item for text in texts for item in yaml.safe_load_all(text)]
    return [pods.applied(_fitting(item, user)) if _is_deployment(item) else item for item in items]


def disclosed(item: Json, pods: Mapping[str, Pod]) -> Json:
    """A Deployment whose proxies say who asks, where they are configured to leave that out; any
    other object as it is.

    Args:
        pods: as they would be made, by name of their Deployment.
    """
    settings = disclosing(pods[name]) if (name := item["metadata"]["name"]) in pods else {}
    if not settings or not _is_deployment(item):
        return item
    template = item["spec"]["template"]
    annotations = template["metadata"].get("annotations") or {}
    own = yaml.safe_load(annotations.get(PROXY_CONFIG, "")) or {}
    annotated = {**annotations, PROXY_CONFIG: json.dumps(merged(own, settings))}
    meta = {**template["metadata"], "annotations": annotated}
    return {**item, "spec": {**item["spec"], "template": {**template, "metadata": meta}}}


def with_host_names(
    scenario: Scenario,
    cluster: str,
    images: ImageSet,
    pods: PodOverrides = AS_THEY_ARE,
    user: int | None = None,
) -> Sequence[Json]:
    """What a cluster gets, too, where proxies answer DNS queries; nothing else depends on it.

    Args:
        user: as for `manifests`.
    """
    if not scenario.dns_proxying:
        return ()
    version = scenario.cluster(cluster).helloworld
    text = stateful_manifest(scenario.position(cluster), version, images)
    return [pods.applied(_fitting(item, user)) for item in yaml.safe_load_all(text)]


def _fitting(item: Json, user: int | None) -> Json:
    """A Deployment or StatefulSet whose pods do not keep their namespace, when it is removed, are
    on nodes that run their images, run as a user of their namespace where it has its own, and get a
    proxy where only pods do that ask for it (Istio: global.proxy.autoInject).
    """
    template = item["spec"]["template"]
    meta = {**template["metadata"], "labels": {**INJECTED, **template["metadata"]["labels"]}}
    own = {} if user is None else {"runAsUser": user}
    containers = [
        {**each, "securityContext": {**each["securityContext"], **own}}
        for each in template["spec"]["containers"]
    ]
    pod = {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "nodeSelector": ON_LINUX,
        **template["spec"],
        "containers": containers,
    }
    return {**item, "spec": {**item["spec"], "template": {"metadata": meta, "spec": pod}}}


def exports(scenario: Scenario, cluster: str) -> Sequence[Json]:
    """What exports the services of HelloWorld from a cluster, in a mesh where other clusters do not
    know them otherwise.
    """
    if not scenario.mcs:
        return ()
    named = named_services(scenario.position(cluster)) if scenario.dns_proxying else ()
    return [*yaml.safe_load_all(export_manifest(SERVICE, *named))]


def namespace_labels(
    cluster: str, injectors: Sequence[Injector], namespace: str, revision: str = ""
) -> Mapping[str, str]:
    """Labels by which a namespace is injected; the default revision's where nobody injects.

    Args:
        cluster: name for errors.
        injectors: of the mesh.
        revision: revision or tag that is asked for; empty for the default one, or for that of the
            only istiod where none is the default.

    Raises:
        LabError: several could be meant, or the one that is asked for is not there.
    """
    names = sorted({each.revision for each in injectors if each.revision})
    labels = {name: {REVISION_LABEL: name} for name in names}
    seen = [name for name in names if _is_seen(injectors, namespace, labels[name])]
    if revision and revision not in seen:
        raise _unclear(cluster, f"the revision {revision}", seen)
    if revision:
        return labels[revision]
    if _is_seen(injectors, namespace, ENABLED) or not seen:
        return ENABLED
    istiods = {each.istiod or each.revision for each in injectors if each.revision in seen}
    if len(istiods) > 1:
        raise _unclear(cluster, "one revision of istiod, or a default one", seen)
    return next((labels[name] for name in seen if name in istiods), labels[seen[0]])


@dataclass(frozen=True)
class Obstacle:
    """Why workloads do not run that no mesh has to do with.

    Attributes:
        lasting: whether waiting is in vain.
    """

    seen: str
    remedy: str
    lasting: bool


def obstacle(
    pods: Sequence[Pod], events: Sequence[Event], wanted: int, injectors: Collection[str] = ()
) -> Obstacle | None:
    """The obstacle; None where there is none but the mesh.

    Args:
        events: oldest first.
        wanted: number of pods that there should be.
        injectors: names of the webhooks that inject proxies.
    """
    for pod in pods:
        if pod.unscheduled:
            remedy = f"{refusals.PODS_OPTION} FILE with nodeSelector, tolerations or resources"
            return Obstacle(f"pod {pod.name} has no node: {pod.unscheduled}", remedy, lasting=False)
        for container in (*pod.starting, *pod.containers):
            waiting = container.waiting
            if waiting.startswith(_NO_IMAGE):
                return _no_image(pod, container, events)
            if container.name in _OWN_CONTAINERS and waiting and not waiting.startswith(_STARTING):
                remedy = "choose images that run on these nodes: --mesh-helloworld-image, "
                return Obstacle(
                    _shown(pod, container), f"{remedy}--mesh-sleep-image", lasting=False
                )
    refused = [each for each in events if each.reason == "FailedCreate"]
    if len(pods) < wanted and refused:
        refusal = refusal_in(refused[-1].message)
        if not refusals.is_of_mesh(refusal, injectors):
            lasting = bool(refusal.kind) and not refusal.is_unanswered
            return Obstacle(str(refused[-1]), refusals.remedy_for(refusal), lasting)
    return None


def _no_image(pod: Pod, container: Container, events: Sequence[Event]) -> Obstacle:
    seen = _shown(pod, container)
    if pod.pull_secrets:
        seen += f"; pull secrets of the pod: {', '.join(pod.pull_secrets)}"
    missing = [each for each in events if each.reason == _NOT_RETRIEVED and pod.name in each.about]
    if missing:
        seen += f"; {missing[-1].message}"
    option = _OWN_CONTAINERS.get(container.name, "")
    choice = f"{option} IMAGE, which the nodes can pull, or " if option else ""
    return Obstacle(
        seen,
        f"{choice}a secret to pull {container.image} by: imagePullSecrets in "
        f"{refusals.PODS_OPTION} FILE, with the namespace that it is copied from",
        lasting=not container.waiting.startswith(_TRIES_AGAIN),
    )


def _shown(pod: Pod, container: Container) -> str:
    return f"pod {pod.name}, container {container.name} ({container.image}): {container.waiting}"


def _copied(kube: KubeEditor, secrets: Iterable[PullSecret]) -> Iterator[Json]:
    """The secrets that are copied into the run's namespace.

    Raises:
        LabError: one of them is not there.
    """
    for each in secrets:
        if not each.namespace:
            continue
        found = kube.get(SECRETS, each.namespace, each.name)
        if found is None:
            raise LabError(
                wanted=f"the secret {each.name} to pull images by",
                seen="none",
                where=f"{kube.name}, namespace {each.namespace}",
                remedy=f"correct imagePullSecrets in the file of {refusals.PODS_OPTION}",
            )
        yield {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": each.name},
            "type": found.kind,
            "data": dict(encoded(found.data)),
        }


def _is_seen(injectors: Sequence[Injector], namespace: str, labels: Mapping[str, str]) -> bool:
    all_labels = {**labels, NAME_LABEL: namespace}
    return any(
        each.webhook.namespaces.matches(all_labels) and each.webhook.objects.matches({})
        for each in injectors
    )


def _unclear(cluster: str, wanted: str, seen: Sequence[str]) -> LabError:
    return LabError(
        wanted=wanted,
        seen=", ".join(seen) or "no webhook that injects",
        where=cluster,
        remedy="choose one by --mesh-revision",
    )


def _require_not_stopped(order: Order, cluster: str) -> None:
    if order.stopping.is_set():
        raise LabError(wanted="the sample workloads", seen="stopped", where=cluster)


def _is_deployment(item: Json) -> bool:
    return str(item["kind"]) == "Deployment"


def _create(
    kube: KubeEditor,
    namespace: str,
    item: Json,
    injectors: Collection[str],
    progress: Progress,
) -> None:
    try:
        kube.create(item, namespace)
    except NotAdmitted as error:
        refusal, name = refusal_in(error.seen), f"{item['kind']} {item['metadata']['name']}"
        # Istio's own webhooks look at its resources: that they do not answer is the mesh's fault.
        if not refusals.is_of_mesh(refusal, injectors):
            where = f"{kube.name}, namespace {namespace}"
            raise refusals.not_admitted({name: refusal}, where) from error
        progress.note("sample", f"{name} was not made: {error.seen}", kube.name)


def _create_if_possible(
    kube: KubeEditor,
    namespace: str,
    item: Json,
    progress: Progress,
    obstacles: tuple[type[ProbeError], ...] = (ProbeError,),
) -> None:
    """Create what the workloads run without, or say why not.

    Args:
        obstacles: why it may fail; of exports also because the kind is not defined, which is for
            requirements to judge.
    """
    try:
        kube.create(item, namespace)
    except obstacles as error:
        what = f"{item['kind']} {item['metadata']['name']}"
        progress.note("sample", f"{what} was not made: {error.seen}", kube.name)


def _await(
    order: Order,
    kube: KubeClient,
    namespace: str,
    names: Sequence[str],
    injectors: Collection[str],
    policies: NamespacePolicies,
) -> str:
    """What keeps the workloads from being ready; empty when they are.

    Raises:
        LabError: the cluster does not run them.
        ProbeError: the API server cannot be asked or refuses.
    """
    begun = time.monotonic()
    waiting_since, is_let_in = math.inf, False
    while True:
        _require_not_stopped(order, kube.name)
        policies.look()
        ready = [each.meta.name for each in kube.list(DEPLOYMENTS, namespace) if each.ready >= 1]
        if set(ready) >= set(names):
            return ""
        pods = kube.list(PODS, namespace)
        events = sorted(kube.list(EVENTS, namespace), key=lambda event: event.at)
        hindrance = obstacle(pods, events, len(names), injectors)
        states = [f"pod {pod.name} {pod.state}" for pod in pods] or ["no pod"]
        now = time.monotonic()
        waits = any(map(_waits_for_istiod, pods))
        waiting_since = min(waiting_since, now) if waits else math.inf
        if not is_let_in and now - waiting_since > patient(CONFIGURED_SECONDS):
            policies.require_let_in("; ".join(states))
            is_let_in = True
        # the one without a proxy is made whatever becomes of injection
        made = any(pod.meta.labels.get("app") != PLAIN_CLIENT for pod in pods)
        over = now - begun > patient(READY_SECONDS if made else MADE_SECONDS)
        if hindrance is not None and (over or hindrance.lasting):
            raise LabError(
                wanted="HelloWorld and Sleep to run",
                seen=hindrance.seen,
                where=f"{kube.name}, namespace {namespace}",
                remedy=hindrance.remedy,
            )
        if over:
            texts = [str(event) for event in events if event.reason == "FailedCreate"]
            texts = texts or [str(event) for event in events]
            return "; ".join([*states, *texts[-_SHOWN:]])
        time.sleep(_INTERVAL)


def _waits_for_istiod(pod: Pod) -> bool:
    """Whether a pod's proxy runs and is not ready, as it is once istiod has configured it."""
    proxy = pod.container(PROXY)
    return proxy is not None and proxy.running and not proxy.ready
