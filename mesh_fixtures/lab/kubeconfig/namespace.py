"""The namespace made for a run in an existing cluster: all that it makes there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from mesh_fixtures.contract import RUN_PREFIX, Cluster
from mesh_fixtures.errors import LabError, NotPermitted
from mesh_fixtures.journal import Journal, JournalEntry, Kind
from mesh_fixtures.kube import KubeEditor, Namespace
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import NAMESPACES, PODS
from mesh_fixtures.patience import patient

OWNER_LABEL: Final = "mesh-conformance/lab"
"""Label with the id of the lab that a namespace belongs to."""

REMOVAL_SECONDS: Final = 120.0
"""A pod may take its grace period of 30 s, twice when its node is slow."""

_KIND: Final[Kind] = "kubernetes-namespace"
_LABELS: Final = {"app.kubernetes.io/managed-by": "mesh-conformance"}
_INTERVAL: Final = 0.5


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


def manifest(
    name: str, labels: Mapping[str, str], annotations: Mapping[str, str], lab: str = ""
) -> Json:
    """The namespace as it is made.

    Args:
        labels: beside those that say whose it is.
        lab: that it is made for; empty where it is only tried.
    """
    own = {**labels, **_LABELS, **({OWNER_LABEL: lab} if lab else {})}
    metadata: dict[str, object] = {"name": name, "labels": own}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


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
    kube.create(manifest(name, labels, annotations, lab))
    there = kube.get(NAMESPACES, "", name)
    if there is None or not belongs(there, lab):
        raise LabError(
            wanted=f"a namespace {name} of this run's own",
            seen="one that is not of this run" if there else "none, although it was made",
            where=kube.name,
            remedy=f"kubectl delete namespace {name}, if nobody needs it; or choose another name",
        )


def belongs(namespace: Namespace, lab: str) -> bool:
    """Whether a namespace is a lab's own."""
    return namespace.meta.labels.get(OWNER_LABEL) == lab


def is_of_runs(namespace: Namespace) -> bool:
    """Whether it was made for a lab, be it another one."""
    return OWNER_LABEL in namespace.meta.labels


def remove(cluster: Cluster, name: str, lab: str) -> None:
    """Remove it, if it is there and the lab's, and wait until it is gone.

    Raises:
        LabError: it is still there after `patient(REMOVAL_SECONDS)`.
        ProbeError: the API server cannot be asked or refuses.
    """
    with KubeEditor(cluster) as kube:
        seconds = patient(REMOVAL_SECONDS)
        deadline = time.monotonic() + seconds
        there = kube.get(NAMESPACES, "", name)
        if there is not None and belongs(there, lab):
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
