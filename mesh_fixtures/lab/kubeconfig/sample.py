"""HelloWorld and Sleep in a namespace made for the run in existing clusters.

They are deployed through the API servers, so that no kubectl is needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from mesh_fixtures.contract import Cluster
from mesh_fixtures.errors import LabError, NotPermitted, ProbeError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.journal import Journal
from mesh_fixtures.kube import Event, KubeClient, KubeEditor, Pod
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import DEPLOYMENTS, EVENTS, MUTATING_WEBHOOKS, PODS
from mesh_fixtures.lab.kubeconfig import namespace as own
from mesh_fixtures.lab.kubeconfig.survey import INJECTOR, REVISION_LABEL, Injector, injectors
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import (
    fresh_connections_manifest,
    helloworld_manifest,
    service_manifest,
    sleep_manifest,
)

READY_SECONDS: Final = 120.0
"""Nodes may have to pull the images first."""

MADE_SECONDS: Final = 45.0
"""After which pods that nobody has made are not waited for: their webhook does not answer."""

ENABLED: Final = {"istio-injection": "enabled"}
"""Chooses the default revision (Istio: Installing the Sidecar)."""

_NAME_LABEL: Final = "kubernetes.io/metadata.name"
_INTERVAL: Final = 0.5
_SHOWN: Final = 3
_OWN_CONTAINERS: Final = frozenset({"helloworld", "sleep"})
_STARTING: Final = ("ContainerCreating", "PodInitializing")
_HOPELESS: Final = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


@dataclass(frozen=True)
class Order:
    """What is to be deployed.

    Attributes:
        lab: id of the lab that it belongs to.
        revision: of istiod; empty for the default one.
        stopping: set when nothing more is to be made.
    """

    lab: str
    scenario: Scenario
    images: ImageSet
    revision: str
    journal: Journal
    stopping: threading.Event


def deploy(order: Order, cluster: Cluster, progress: Progress) -> None:
    """Deploy the workloads in a cluster, and wait until they are ready.

    Workloads that do not become ready although their images and nodes are all right are left for
    requirements to judge, since the mesh may be what is wrong with them.

    Raises:
        LabError: the cluster does not run them.
        ProbeError: the API server cannot be asked or refuses.
    """
    with KubeEditor(cluster) as kube:
        name = own.name_of(order.lab)
        webhooks = tuple(injectors(kube.list(MUTATING_WEBHOOKS, selector=INJECTOR)))
        labels = namespace_labels(cluster.name, webhooks, name, order.revision)
        _require_not_stopped(order, cluster.name)
        order.journal.record(own.entry(cluster.name, order.lab))
        own.make(kube, order.lab, labels)
        made = manifests(order.scenario, cluster.name, order.images, name)
        for item in made:
            _require_not_stopped(order, cluster.name)
            _create(kube, name, item, progress)
        with progress.phase("sample-ready", cluster.name):
            deployments = [each["metadata"]["name"] for each in made if _is_deployment(each)]
            trouble = _await(order, kube, name, deployments)
        if trouble:
            progress.note("sample", f"not ready, which is for tests to judge: {trouble}", kube.name)


def manifests(scenario: Scenario, cluster: str, images: ImageSet, namespace: str) -> Sequence[Json]:
    """What a cluster gets, in the order of making."""
    spec = scenario.cluster(cluster)
    texts = [service_manifest()]
    if scenario.has_choice_behind_gateway and spec.is_primary:
        texts.append(fresh_connections_manifest(namespace))
    texts += [helloworld_manifest(spec.helloworld, images), sleep_manifest(images)]
    return [item for text in texts for item in yaml.safe_load_all(text)]


def namespace_labels(
    cluster: str, injectors: Sequence[Injector], namespace: str, revision: str = ""
) -> Mapping[str, str]:
    """Labels by which a namespace is injected; the default revision's where nobody injects.

    Args:
        cluster: name for errors.
        revision: revision or tag that is asked for; empty for the default one, or for the only one
            where none is the default.

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
    if len(seen) > 1:
        raise _unclear(cluster, "one revision of istiod, or a default one", seen)
    return labels[seen[0]]


def obstacle(pods: Sequence[Pod], events: Iterable[Event], wanted: int) -> str:
    """Why workloads do not run that no mesh has to do with; empty when there is no such reason.

    Args:
        events: oldest first.
        wanted: number of pods that there should be.
    """
    for pod in pods:
        if pod.unscheduled:
            return f"pod {pod.name} has no node: {pod.unscheduled}"
        for container in pod.containers:
            waiting = container.waiting
            if container.name in _OWN_CONTAINERS and waiting and not waiting.startswith(_STARTING):
                return f"pod {pod.name}, container {container.name} ({container.image}): {waiting}"
    refused = [each for each in events if each.reason == "FailedCreate"]
    if len(pods) < wanted and refused and "webhook" not in refused[-1].message:
        return str(refused[-1])
    return ""


def _is_seen(injectors: Sequence[Injector], namespace: str, labels: Mapping[str, str]) -> bool:
    all_labels = {**labels, _NAME_LABEL: namespace}
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


def _create(kube: KubeEditor, namespace: str, item: Json, progress: Progress) -> None:
    try:
        kube.create(item, namespace)
    except NotPermitted:
        raise
    except ProbeError as error:
        # Istio's own webhooks look at its resources: that they do not answer is the mesh's fault.
        if "webhook" not in error.seen:
            raise
        progress.note("sample", f"{item['kind']} was not made: {error.seen}", kube.name)


def _await(order: Order, kube: KubeClient, namespace: str, names: Sequence[str]) -> str:
    """What keeps the workloads from being ready; empty when they are.

    Raises:
        LabError: the cluster does not run them.
        ProbeError: the API server cannot be asked or refuses.
    """
    begun = time.monotonic()
    while True:
        _require_not_stopped(order, kube.name)
        ready = [each.meta.name for each in kube.list(DEPLOYMENTS, namespace) if each.ready >= 1]
        if set(ready) >= set(names):
            return ""
        pods = kube.list(PODS, namespace)
        events = sorted(kube.list(EVENTS, namespace), key=lambda event: event.at)
        hindrance = obstacle(pods, events, len(names))
        over = time.monotonic() - begun > patient(READY_SECONDS if pods else MADE_SECONDS)
        if hindrance and (over or any(reason in hindrance for reason in _HOPELESS)):
            raise LabError(
                wanted="HelloWorld and Sleep to run",
                seen=hindrance,
                where=f"{kube.name}, namespace {namespace}",
                remedy="choose images that the nodes can pull: --mesh-helloworld-image, "
                "--mesh-sleep-image"
                if "mage" in hindrance
                else "",
            )
        if over:
            states = [f"pod {pod.name} {pod.state}" for pod in pods] or ["no pod"]
            texts = [str(event) for event in events if event.reason == "FailedCreate"]
            texts = texts or [str(event) for event in events]
            return "; ".join([*states, *texts[-_SHOWN:]])
        time.sleep(_INTERVAL)
