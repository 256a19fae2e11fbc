"""Clusters in which a namespace has to say by which istiod it is injected: several meshes, or one
istiod that goes by a revision and a tag.

Source: Istio, Install Multiple Istio Control Planes in a Single Cluster; Canary Upgrades (Stable
revision labels).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.method import Istioctl
from mesh_fixtures.install.plan import plan
from mesh_fixtures.parallel import parallel_map
from tests.faults.control_planes import MESH, with_settings
from tests.faults.target import Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.names import OF_CLUSTER, REMOVAL_SECONDS, moved, with_values
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_BY_REVISION: Final = "multi-primary-multi-network-revision"
_OTHER: Final = "mesh-b"
"""Namespace and revision of the further mesh, and the label of its namespaces."""

_INGRESS: Final = "openshift-ingress"
_OF_GATEWAYS: Final = "openshift-gateway"
"""Namespace and revision of the istiod by which OpenShift has gateways of the Gateway API."""
_BUNDLE: Final = "openshift-gateway-ca-cert"

_LABEL: Final = "mesh"
_TAG: Final = "prod"
_WEBHOOK: Final = "mutatingwebhookconfiguration/istio-revision-tag"


@contextmanager
def beside_another_mesh(target: Target) -> Iterator[None]:
    """Each cluster is of a further mesh, too, which has a control plane, a gateway and remote
    secrets of its own; each istiod looks at the namespaces of its own mesh.
    """
    clusters = [each.name for each in target.scenario.clusters]
    before = {name: target.read(name, _SYSTEM, "configmap", MESH) for name in clusters}
    try:
        for name in clusters:
            _label(target, name, f"{_LABEL}={_SYSTEM}", _SYSTEM, target.namespace)
            target.apply(name, _SYSTEM, with_settings(before[name], _selecting(_SYSTEM)))
        _install_further_mesh(target)
        for name in clusters:
            _label(target, name, f"{_LABEL}={_OTHER}", _OTHER)
            further = target.read(name, _OTHER, "configmap", f"{MESH}-{_OTHER}")
            target.apply(name, _OTHER, with_settings(further, _selecting(_OTHER)))
        yield
    finally:
        parallel_map(lambda name: _remove(target, name, _OTHER, _OTHER), clusters)
        for name in clusters:
            target.apply(name, _SYSTEM, before[name])
            _label(target, name, f"{_LABEL}-", _SYSTEM, target.namespace)


@contextmanager
def beside_gateways(target: Target) -> Iterator[None]:
    """Each cluster has an istiod of a revision of its own, too, with an authority of its own, whose
    certificate is in another ConfigMap than that of the mesh; it reads no other cluster.
    """
    scenario = target.scenario.model_copy(update={"revision": _OF_GATEWAYS})
    further = moved(plan(scenario, target.lab.images, target.lab.charts), _INGRESS)
    clusters = [each.name for each in scenario.clusters]
    try:
        for name in clusters:
            istiod = with_values(
                further[ids.istiod(name)], {"global": {"trustBundleName": _BUNDLE}}
            )
            target.run_steps(further.replace(istiod), ids.system_namespace(name), istiod.id)
        yield
    finally:
        parallel_map(lambda name: _remove_of_gateways(target, name), clusters)


def _remove_of_gateways(target: Target, cluster: str) -> None:
    _remove(target, cluster, _OF_GATEWAYS, _INGRESS)
    named = f"--field-selector=metadata.name={_BUNDLE}"
    target.kubectl(cluster, "delete", "configmaps", "--all-namespaces", named)


def _selecting(mesh: str) -> dict[str, Any]:
    return {"discoverySelectors": [{"matchLabels": {_LABEL: mesh}}]}


def _label(target: Target, cluster: str, label: str, *namespaces: str) -> None:
    target.kubectl(cluster, "label", "--overwrite", "namespace", *namespaces, label)


def _install_further_mesh(target: Target) -> None:
    """Install a second mesh of the same topology, which is no cluster's default one."""
    changes = {"revision": _OTHER, "mesh": _OTHER}
    scenario = target.scenario.model_copy(update=changes)
    further = moved(plan(scenario, target.lab.images, target.lab.charts), _OTHER)
    defaults = {ids.default_revision(each.name) for each in scenario.clusters}
    steps = (each.id for each in further.steps if each.id not in defaults)
    target.run_steps(further, *steps)


def _remove(target: Target, cluster: str, revision: str, namespace: str) -> None:
    gone = ("--ignore-not-found", "--wait=true")
    target.kubectl(cluster, "delete", OF_CLUSTER, "-l", f"istio.io/rev={revision}", *gone)
    target.kubectl(cluster, "delete", "namespace", namespace, *gone, seconds=REMOVAL_SECONDS)


@contextmanager
def tagged(target: Target) -> Iterator[None]:
    """The only istiod of each cluster goes by its revision and by a tag, and is no default."""
    clusters = [each.name for each in target.scenario.clusters]
    method = Istioctl(revision=target.scenario.revision or "")
    try:
        for name in clusters:
            default = target.installation[ids.default_revision(name)]
            step = replace(default, commands=method.tag(name, _TAG))
            target.run_steps(target.installation.replace(step), step.id)
            target.delete(name, _SYSTEM, f"{_WEBHOOK}-{names.DEFAULT_REVISION}")
        yield
    finally:
        target.run_steps(target.installation, *map(ids.default_revision, clusters))
        for name in clusters:
            target.delete(name, _SYSTEM, f"{_WEBHOOK}-{_TAG}")


VARIANTS: Final = (
    Variant(
        id="beside-another-mesh",
        mesh="Each cluster has two control planes; the mesh of that in mesh-b, which only labelled "
        "namespaces are of, is verified.",
        topology=TWO_NETWORKS,
        make=beside_another_mesh,
        system_namespace=_OTHER,
        arguments=("--namespace-label", f"{_LABEL}={_OTHER}"),
        notes=(f"the control plane is in namespace {_OTHER}",),
    ),
    Variant(
        id="beside-another-mesh-unselected",
        mesh="As above, and the run's namespace is not labelled.",
        topology=TWO_NETWORKS,
        make=beside_another_mesh,
        system_namespace=_OTHER,
        refusal=f"--mesh-namespace-label {_LABEL}={_OTHER}",
    ),
    Variant(
        id="beside-istiod-for-gateways",
        mesh="Each cluster has an istiod for gateways of the Gateway API, too, as OpenShift has.",
        topology=TWO_NETWORKS,
        make=beside_gateways,
        notes=(f"the control plane is in namespace {_SYSTEM}, beside another in {_INGRESS}",),
    ),
    Variant(
        id="revision-and-tag",
        mesh="The only istiod of each cluster goes by a revision and by a tag; neither is the "
        "default.",
        topology=_BY_REVISION,
        make=tagged,
    ),
)
