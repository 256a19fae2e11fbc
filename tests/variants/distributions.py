"""What distributions of Kubernetes and of Istio do otherwise than the guide.

Source: OpenShift, Managing security context constraints; Azure Kubernetes Service, Configure the
Istio-based service mesh add-on (shared mesh configuration); Solo's builds of Istio, peering.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import yaml

from mesh_fixtures.install import ids, names
from mesh_fixtures.kube.resources import CONFIG_MAPS
from mesh_fixtures.lab.kubeconfig.allotted_users import ANNOTATION
from tests.faults.control_planes import with_variable
from tests.faults.remote_secrets import withdraw
from tests.faults.target import Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.needs import wanting
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_SHARED: Final = "mesh-of-the-owner"
_LABEL: Final = "istio-discovery"
_FIRST, _COUNT = 1_000_680_000, 10_000
_USERS: Final = f"{_FIRST}/{_COUNT}"


@contextmanager
def users_allotted(target: Target) -> Iterator[None]:
    """Each namespace has its own users, and pods of runs may be of none but these; proxies are left
    out, for which istiod chooses one on OpenShift only.
    """
    own = (
        "has(c.securityContext.runAsUser) && "
        f"c.securityContext.runAsUser >= {_FIRST} && "
        f"c.securityContext.runAsUser < {_FIRST + _COUNT}"
    )
    expression = f"object.spec.containers.all(c, c.name == 'istio-proxy' || ({own}))"
    clusters = [each.name for each in target.scenario.clusters]

    def annotate(annotation: str) -> None:
        for cluster in clusters:
            target.kubectl(cluster, "annotate", "--overwrite", "namespace", _SYSTEM, annotation)

    try:
        annotate(f"{ANNOTATION}={_USERS}")
        with wanting(target, {expression: "a container wants a user of its namespace"}):
            yield
    finally:
        annotate(f"{ANNOTATION}-")


@contextmanager
def shared_configuration(target: Target) -> Iterator[None]:
    """Both istiods read a second ConfigMap, by which they look at labelled namespaces only."""
    clusters = [each.name for each in target.scenario.clusters]
    mesh = {"discoverySelectors": [{"matchLabels": {_LABEL: "enabled"}}]}
    shared = {
        "apiVersion": CONFIG_MAPS.api,
        "kind": CONFIG_MAPS.kind,
        "metadata": {"name": _SHARED},
        "data": {"mesh": yaml.safe_dump(mesh)},
    }

    def label(value: str) -> None:
        for cluster in clusters:
            existing = (_SYSTEM, target.namespace)
            target.kubectl(cluster, "label", "--overwrite", "namespace", *existing, value)

    try:
        label(f"{_LABEL}=enabled")
        for cluster in clusters:
            target.apply(cluster, _SYSTEM, shared)
        with with_variable(target, "SHARED_MESH_CONFIG", _SHARED, clusters=clusters):
            yield
    finally:
        for cluster in clusters:
            target.delete(cluster, _SYSTEM, f"configmap/{_SHARED}")
        label(f"{_LABEL}-")


@contextmanager
def peering(target: Target) -> Iterator[None]:
    """The istiods read no other cluster, and say that they know services otherwise, which the lab's
    do not.
    """
    clusters = [each.name for each in target.scenario.clusters]
    with ExitStack() as stack:
        stack.enter_context(
            with_variable(target, "ENABLE_PEERING_DISCOVERY", "true", clusters=clusters)
        )
        for each in target.scenario.remote_secrets:
            step = ids.remote_secret(of=each.of, installed_in=each.installed_in)
            stack.callback(target.run_steps, target.installation, step)
            withdraw(target, each)
        yield


VARIANTS: Final = (
    Variant(
        id="users-of-namespaces",
        mesh="Each namespace has its own users, as on OpenShift, and pods may be of no others.",
        topology=TWO_NETWORKS,
        make=users_allotted,
        arguments=("--namespace-annotation", f"{ANNOTATION}={_USERS}"),
    ),
    Variant(
        id="shared-mesh-configuration",
        mesh="Both istiods have discoverySelectors from a second ConfigMap, as with AKS's add-on, "
        "and the run's namespace is selected.",
        topology=TWO_NETWORKS,
        make=shared_configuration,
        arguments=("--namespace-label", f"{_LABEL}=enabled"),
    ),
    Variant(
        id="shared-mesh-configuration-unselected",
        mesh="Both istiods have discoverySelectors from a second ConfigMap, as with AKS's add-on, "
        "and the run's namespace is not selected.",
        topology=TWO_NETWORKS,
        make=shared_configuration,
        refusal=f"--mesh-namespace-label {_LABEL}=enabled",
    ),
    Variant(
        id="peering-in-place-of-remote-secrets",
        mesh="The istiods know each other's services by peering, as Solo's builds do.",
        topology=TWO_NETWORKS,
        make=peering,
        refusal="peering, as of Solo's builds of Istio, is not verified",
        is_silent=True,
    ),
)
