"""By which labels the pods of a namespace get a proxy: a pure function of a cluster's webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.kubeconfig.survey import REVISION_LABEL, Injector

ENABLED: Final = {"istio-injection": "enabled"}
"""Chooses the default revision (Istio: Installing the Sidecar)."""

_NAME_LABEL: Final = "kubernetes.io/metadata.name"


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
