"""The namespace of a run in an existing cluster, which has all that it makes there: made for it, or
provided by the cluster's owner for one run after the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from mesh_fixtures.contract import RUN_PREFIX, Cluster
from mesh_fixtures.errors import LabError, NotPermitted
from mesh_fixtures.journal import Journal, JournalEntry, Kind
from mesh_fixtures.kube import KubeClient, KubeEditor, Namespace, Resource
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import CONFIG_MAPS, CREATED, NAMESPACES, PODS, SERVICES
from mesh_fixtures.patience import patient
from mesh_fixtures.wording import first_of

OWNER_LABEL: Final = "mesh-conformance/lab"
"""Label with the id of the lab that a namespace belongs to."""

REMOVAL_SECONDS: Final = 120.0
"""A pod may take its grace period of 30 s, twice when its node is slow."""

PROVIDED_LABEL: Final = "mesh-conformance/provided=true"
"""By which an owner provides a namespace for runs, which neither make nor remove it."""

CLAIM: Final = "mesh-conformance"
"""Name of the ConfigMap by which a run has a provided namespace to itself."""

_KIND: Final[Kind] = "kubernetes-namespace"
_LABELS: Final = {"app.kubernetes.io/managed-by": "mesh-conformance"}
_INTERVAL: Final = 0.5
_SHOWN: Final = 5


def name_of(lab: str, given: str = "") -> str:
    """Name of a lab's namespace, the same in every cluster.

    Args:
        given: that was asked for; empty for one of the lab's own.
    """
    return given or RUN_PREFIX + lab.removeprefix("mesh-")


def entry(cluster: str, name: str) -> JournalEntry:
    """What a journal says of it."""
    return JournalEntry(_KIND, f"{cluster}/{name}")


def recorded(journal: Journal) -> Mapping[str, str]:
    """Names of a lab's namespaces, by cluster."""
    made = [each.name for each in journal.entries() if each.kind == _KIND]
    return {cluster: name for cluster, _, name in (each.partition("/") for each in made)}


def manifest(name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Json:
    """The namespace as it is made."""
    metadata: dict[str, object] = {"name": name, "labels": {**labels, **_LABELS}}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def owner_labels(lab: str) -> Mapping[str, str]:
    """Labels of everything that is made for a lab."""
    return {OWNER_LABEL: lab}


def make(
    kube: KubeEditor,
    name: str,
    lab: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> None:
    """Make it, or use the one that this lab has made.

    Args:
        lab: that it is made for.
        labels: by which its pods are injected, and those that were asked for.
        annotations: those that were asked for.

    Raises:
        LabError: another one has its name.
        ProbeError: the API server cannot be asked or refuses.
    """
    kube.create(manifest(name, labels, annotations))
    there = kube.get(NAMESPACES, "", name)
    if there is None or not belongs(there, lab):
        raise LabError(
            wanted=f"a namespace {name} of this run's own",
            seen="one that is not of this run" if there else "none, although it was made",
            where=kube.name,
            remedy=f"kubectl delete namespace {name}, if nobody needs it; or choose another name",
        )


def claim(kube: KubeEditor, name: str, lab: str) -> None:
    """Have a provided namespace for a lab alone.

    Raises:
        LabError: another run has it, or it has pods or services.
        ProbeError: the API server cannot be asked or refuses.
    """
    owner = claimed_by(kube, name)
    if not owner:
        require_unused(kube, name)
        kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CLAIM}}, name)
        owner = claimed_by(kube, name)
    if owner != lab:
        raise LabError(
            wanted=f"the namespace {name} to be free",
            seen=f"the ConfigMap {CLAIM} says that {owner or 'nobody'} has it",
            where=kube.name,
            remedy="wait until that run is over; `mesh-conformance clean` where it was started "
            "removes what it left behind",
        )


def claimed_by(kube: KubeClient, name: str) -> str:
    """Id of the lab that has a provided namespace; empty without one.

    Raises:
        ProbeError: the API server cannot be asked or refuses.
    """
    there = kube.get(CONFIG_MAPS, name, CLAIM)
    return "" if there is None else there.meta.labels.get(OWNER_LABEL, "somebody")


def require_unused(kube: KubeClient, name: str) -> None:
    """See to it that a provided namespace has nothing that a run would meet, or that would meet its
    policies.

    Raises:
        LabError: it has pods or services.
        ProbeError: the API server cannot be asked or refuses.
    """
    pods = [f"Pod {each.name}" for each in kube.list(PODS, name)]
    found = [*pods, *(f"Service {each.meta.name}" for each in kube.list(SERVICES, name))]
    if found:
        raise LabError(
            wanted=f"the provided namespace {name} to have no pods and no services",
            seen=first_of(found, _SHOWN),
            where=kube.name,
            remedy="provide one that nothing else uses",
        )


def holds(kube: KubeClient, name: str, lab: str) -> bool:
    """Whether a lab has the namespace, be it made for it or provided.

    Raises:
        ProbeError: the API server cannot be asked or refuses.
    """
    there = kube.get(NAMESPACES, "", name)
    if there is None or not is_provided(there):
        return there is not None and belongs(there, lab)
    return claimed_by(kube, name) == lab


def belongs(namespace: Namespace, lab: str) -> bool:
    """Whether a namespace is a lab's own."""
    return namespace.meta.labels.get(OWNER_LABEL) == lab


def is_of_runs(namespace: Namespace) -> bool:
    """Whether it was made for a lab, be it another one."""
    return OWNER_LABEL in namespace.meta.labels


def is_provided(namespace: Namespace) -> bool:
    """Whether its owner provides it for runs."""
    key, _, value = PROVIDED_LABEL.partition("=")
    return namespace.meta.labels.get(key) == value


def remove(cluster: Cluster, name: str, lab: str) -> None:
    """Remove it, if it is there and the lab's, and wait until it is gone; of one that is somebody
    else's, what the lab has made in it.

    Raises:
        LabError: something is still there after `patient(REMOVAL_SECONDS)`.
        ProbeError: the API server cannot be asked or refuses.
    """
    with KubeEditor(cluster) as kube:
        seconds = patient(REMOVAL_SECONDS)
        deadline = time.monotonic() + seconds
        there = kube.get(NAMESPACES, "", name)
        if there is None:
            return
        if not belongs(there, lab):
            _clear(kube, name, lab, deadline)
            return
        kube.delete(NAMESPACES, "", name, uid=there.uid)
        _end_pods(kube, name)
        while there is not None and belongs(there, lab):
            if time.monotonic() > deadline:
                raise LabError(
                    wanted=f"the namespace {name} to be gone within {seconds:g} s",
                    seen="; ".join(there.remaining) or "it is still there",
                    where=cluster.name,
                    remedy=f"kubectl delete namespace {name}",
                )
            time.sleep(_INTERVAL)
            there = kube.get(NAMESPACES, "", name)


def _clear(kube: KubeEditor, name: str, lab: str, deadline: float) -> None:
    """Remove what a lab has made in a namespace that was not made for it, the claim to it last.

    Raises:
        LabError: something is still there at the deadline.
        ProbeError: the API server cannot be asked or refuses.
    """
    selector = f"{OWNER_LABEL}={lab}"
    while left := [*_made_in(kube, name, selector)]:
        others = [each for each in left if each != (CONFIG_MAPS, CLAIM)]
        for kind, each in others or left:
            kube.delete(kind, name, each, foreground=True)
        if time.monotonic() > deadline:
            raise LabError(
                wanted=f"what the run made in the namespace {name} to be gone",
                seen=first_of([f"{kind.kind} {each}" for kind, each in left], _SHOWN),
                where=kube.name,
                remedy=f"kubectl -n {name} delete, with -l {selector}",
            )
        if others:
            time.sleep(_INTERVAL)


def _made_in(kube: KubeClient, name: str, selector: str) -> Iterator[tuple[Resource[Any], str]]:
    for kind in CREATED:
        if not kind.namespaced:
            continue
        with suppress(NotPermitted):  # who may not list a kind was not permitted to make any of it
            for item in kube.items(kind, name, selector):
                # what belongs to something else goes with it, and may have got its labels
                if not item["metadata"].get("ownerReferences"):
                    yield kind, str(item["metadata"]["name"])


def _end_pods(kube: KubeEditor, name: str) -> None:
    """Delete the pods of a namespace that is being removed, and gets no others: the namespace
    controller gives everybody 5 s to hear of it before it begins with them. Roles that permit it
    would permit it in all namespaces, so that only who may do so anyway does.
    """
    try:
        for pod in kube.list(PODS, name):
            kube.delete(PODS, name, pod.name)
    except NotPermitted:
        return  # they are gone some seconds later
