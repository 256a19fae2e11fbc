"""Guide: Configure a cluster as a remote. Its control plane's cluster, then injection by it."""

from __future__ import annotations

from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import control_plane, ids, names
from mesh_fixtures.install.method import Method
from mesh_fixtures.install.step import Command, Step
from mesh_fixtures.scenario import Scenario


def annotation(scenario: Scenario, cluster: str) -> Step:
    """Name the cluster whose istiod is in charge; istiod reads it when the remote secret appears
    (source: Istio, Install Primary-Remote).
    """
    primary = scenario.control_plane_of(cluster)
    setting = f"{names.CONTROL_PLANE_ANNOTATION}={primary}"
    argv = names.kubectl(cluster, "annotate", "namespace", names.SYSTEM_NAMESPACE, setting)
    return Step(
        id=ids.control_plane_annotation(cluster),
        cluster=cluster,
        section=names.as_remote(cluster),
        title=f"Set {primary} as the control plane cluster of {cluster}",
        needs=(ids.system_namespace(cluster),),
        commands=(Command(argv),),
        deadline=30,
        observe=(names.kubectl(cluster, "get", "namespace", names.SYSTEM_NAMESPACE, "-o", "yaml"),),
    )


def remote(scenario: Scenario, cluster: str, images: ImageSet, method: Method) -> Step:
    """Install the CRDs, accounts and injection webhook that use the primary's istiod."""
    recipe = method.remote(scenario, cluster, images, seconds=90)
    primary = scenario.control_plane_of(cluster)
    labelled = tuple(step.id for step in control_plane.network_label(scenario, cluster))
    return Step(
        id=ids.remote(cluster),
        cluster=cluster,
        section=names.as_remote(cluster),
        title=f"Install the remote configuration of {cluster}",
        needs=(
            ids.cacerts(cluster),
            *labelled,
            ids.control_plane_annotation(cluster),
            ids.gateway_address(primary),
        ),
        commands=recipe.commands,
        files=recipe.files,
        deadline=120,
        observe=names.pods_and_events(cluster),
    )


def attached(scenario: Scenario, cluster: str) -> Step:
    """Wait until the primary's istiod serves the remote's webhook and gave it the root."""
    primary = scenario.control_plane_of(cluster)
    bundle = "--for=jsonpath={.webhooks[0].clientConfig.caBundle}"
    webhooks = ("mutatingwebhookconfigurations", "-l", "app=sidecar-injector")
    root = "configmap/istio-ca-root-cert"
    timeout = "--timeout=75s"
    return Step(
        id=ids.attached(cluster),
        cluster=cluster,
        section=names.as_remote(cluster),
        title=f"Wait until the control plane of {primary} is in charge of {cluster}",
        needs=(ids.remote_secret(of=cluster, installed_in=primary),),
        commands=(
            Command(names.kubectl(cluster, "wait", bundle, *webhooks, timeout)),
            Command(names.system_kubectl(cluster, "wait", "--for=create", root, timeout)),
        ),
        deadline=165,
        observe=(
            names.kubectl(cluster, "get", "mutatingwebhookconfigurations", "--show-labels"),
            names.kubectl(cluster, "get", "namespace", names.SYSTEM_NAMESPACE, "-o", "yaml"),
            names.system_kubectl(cluster, "get", "configmaps"),
            names.system_kubectl(primary, "logs", "deployment/istiod", "--tail=30"),
        ),
    )
