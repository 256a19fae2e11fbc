"""Meshes that were installed with other names than the guide's: where the control plane is, and the
domain of the clusters.

Source: Istio, chart istiod (global.istioNamespace, global.proxy.clusterDomain); istioctl
create-remote-secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.install.executor import run_in_lab
from mesh_fixtures.install.method import merged
from mesh_fixtures.install.step import Plan, Step
from mesh_fixtures.parallel import parallel_map
from tests.faults.target import Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.reinstallation import rewritten
from tests.variants.variant import Variant, as_it_is

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_OTHER: Final = "mesh-system"
_OWNED: Final = "install.operator.istio.io/owning-resource"
"""Label of everything that istioctl installs."""

OF_CLUSTER: Final = (
    "mutatingwebhookconfigurations,validatingwebhookconfigurations,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings,"
    "clusterroles,clusterrolebindings"
)
REMOVAL_SECONDS: Final = 60.0
"""For all pods of a control plane and its gateway to end."""


@contextmanager
def in_another_namespace(target: Target) -> Iterator[None]:
    """Nothing of the mesh is in istio-system, in no cluster."""
    try:
        _install_anew(target, moved(target.installation, _OTHER))
        yield
    finally:
        _install_anew(target, target.installation)


def moved(of: Plan, namespace: str) -> Plan:
    """A plan that installs the mesh in another namespace than istio-system."""
    return replace(of, steps=tuple(_moved(step, namespace) for step in of.steps))


def _moved(given: Step, namespace: str) -> Step:
    """A step that names another namespace, also to programs that take istio-system by default."""
    step = rewritten(given, lambda text: text.replace(_SYSTEM, namespace))
    commands = tuple(
        replace(each, argv=(*each.argv, f"--istioNamespace={namespace}"))
        if each.argv[:2] == ("istioctl", "create-remote-secret")
        else each
        for each in step.commands
    )
    return with_values(replace(step, commands=commands), {"global": {"istioNamespace": namespace}})


def with_values(step: Step, values: Mapping[str, Any]) -> Step:
    """A step whose IstioOperators have further values."""

    def changed(content: str) -> str:
        documents: list[dict[str, Any]] = list(yaml.safe_load_all(content))
        if [each.get("kind") for each in documents] != ["IstioOperator"]:
            return content
        own = {"spec": {"values": dict(values)}}
        return yaml.safe_dump(merged(documents[0], own), sort_keys=False)

    return replace(step, files={name: changed(each) for name, each in step.files.items()})


def _install_anew(target: Target, of: Plan) -> None:
    """Install a plan's mesh in place of whatever there is, and start the workloads anew."""
    clusters = [each.name for each in target.scenario.clusters]
    parallel_map(lambda name: _uninstall(target, name), clusters)
    run_in_lab(of, target.lab, target.progress)
    for name in clusters:
        target.restart_workloads(name)


def _uninstall(target: Target, cluster: str) -> None:
    """Remove a cluster's mesh, but for its workloads and for the kinds of Istio's objects."""
    gone = ("--ignore-not-found", "--wait=true")
    target.kubectl(cluster, "delete", OF_CLUSTER, "-l", _OWNED, *gone)
    spaces = (_SYSTEM, _OTHER)
    target.kubectl(cluster, "delete", "namespace", *spaces, *gone, seconds=REMOVAL_SECONDS)


VARIANTS: Final = (
    Variant(
        id="control-plane-in-another-namespace",
        mesh="The control plane, the gateways and the remote secrets of both clusters are in "
        "mesh-system; there is no istio-system.",
        topology=TWO_NETWORKS,
        make=in_another_namespace,
        notes=("the control plane is in namespace mesh-system",),
    ),
    Variant(
        id="another-cluster-domain",
        mesh="The clusters' DNS and the mesh have the domain corp.test.",
        topology="another-cluster-domain",
        make=as_it_is,
    ),
)
