"""Policies of Calico, of Cilium and of the Network Policy API, in clusters that are made to know
their kinds; none is enforced.

Source: Kubernetes, CustomResourceDefinition v1 (protected API groups); Calico, Global network
policy; Cilium, Network Policy; Network Policy API, API Overview.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mesh_fixtures.kube import Configuration, Resource
from mesh_fixtures.kube.resources import (
    ADMIN_POLICIES,
    CALICO_POLICIES,
    CILIUM_POLICIES,
    CLUSTER_POLICIES,
)
from mesh_fixtures.patience import patient
from tests.faults.target import Manifest, Target, reference

CALICO: Final = CALICO_POLICIES[0][0]
CILIUM: Final = CILIUM_POLICIES[0]
ADMIN, BASELINE = ADMIN_POLICIES
CLUSTER: Final = CLUSTER_POLICIES[0][0]
"""Kinds that are in no namespace."""

_DEFINED_SECONDS: Final = 20.0
_ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def policy(kind: Resource[Configuration], name: str, **spec: Any) -> Manifest:
    """A policy of one of the kinds."""
    return {"apiVersion": kind.api, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


@contextmanager
def applied(target: Target, cluster: str, item: Manifest) -> Iterator[None]:
    """A cluster knows the kind of a policy, and has the policy."""
    (kind,) = (
        each for each in (CALICO, CILIUM, ADMIN, BASELINE, CLUSTER) if each.kind == item["kind"]
    )
    definition = _definition(kind)
    try:
        target.apply(cluster, "default", definition)
        established = ("--for=condition=Established", reference(definition))
        timeout = f"--timeout={patient(_DEFINED_SECONDS):g}s"
        target.kubectl(cluster, "wait", timeout, *established)
        target.apply(cluster, "default", item)
        yield
    finally:
        target.delete(cluster, "default", reference(definition))


def _definition(kind: Resource[Configuration]) -> Manifest:
    group, _, version = kind.api.partition("/")
    served = {"name": version, "served": True, "storage": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": _ANYTHING}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.full_name,
            "annotations": {"api-approved.kubernetes.io": "unapproved, without a schema"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind.kind, "plural": kind.plural, "listKind": f"{kind.kind}List"},
            "scope": "Cluster",
            "versions": [{**served, "schema": schema}],
        },
    }
