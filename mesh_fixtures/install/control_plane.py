"""Guide: Configure a cluster as a primary. Its network, then istiod."""

from __future__ import annotations

from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import ids, names
from mesh_fixtures.install.method import Method
from mesh_fixtures.install.step import Command, Step
from mesh_fixtures.scenario import Scenario


def network_label(scenario: Scenario, cluster: str) -> tuple[Step, ...]:
    """Tell istiod which network the cluster's pods are on; nothing within a single network
    (source: Istio, Install Multi-Primary on different networks).
    """
    if not scenario.is_multi_network:
        return ()
    spec = scenario.cluster(cluster)
    label = f"{names.NETWORK_LABEL}={spec.network}"
    argv = names.kubectl(cluster, "label", "namespace", names.SYSTEM_NAMESPACE, label)
    section = names.as_primary(cluster) if spec.is_primary else names.as_remote(cluster)
    return (
        Step(
            id=ids.network_label(cluster),
            cluster=cluster,
            section=section,
            title=f"Set the default network of {cluster}",
            needs=(ids.system_namespace(cluster),),
            commands=(Command(argv),),
            deadline=30,
            observe=(names.kubectl(cluster, "get", "namespaces", "--show-labels"),),
        ),
    )


def istiod(scenario: Scenario, cluster: str, images: ImageSet, method: Method) -> Step:
    """Install istiod and wait until it injects."""
    recipe = method.control_plane(scenario, cluster, images, seconds=210)
    labelled = tuple(step.id for step in network_label(scenario, cluster))
    return Step(
        id=ids.istiod(cluster),
        cluster=cluster,
        section=names.as_primary(cluster),
        title=f"Install the control plane of {cluster}",
        needs=(ids.cacerts(cluster), *labelled),
        commands=recipe.commands,
        files=recipe.files,
        deadline=240,
        observe=(
            *names.pods_and_events(cluster),
            names.system_kubectl(cluster, "logs", "deployment/istiod", "--tail=30"),
        ),
    )
