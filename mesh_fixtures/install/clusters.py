"""Steps of a cluster that are the same whichever istiod serves it: one in the mesh's own clusters,
or an external one. They differ in the section of the guide and in istiod's namespace.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.certificates import CACERTS, CLUSTER_FILES, FOLDER
from mesh_fixtures.install.method import Recipe
from mesh_fixtures.install.step import Command, Step


def namespace(cluster: str, section: str, name: str) -> Step:
    """Create istiod's namespace, or that of what belongs to an istiod elsewhere."""
    return Step(
        id=ids.system_namespace(cluster),
        cluster=cluster,
        section=section,
        title=f"Create the namespace {name} in {cluster}",
        needs=(),
        commands=(Command(names.kubectl(cluster, "create", "namespace", name)),),
        deadline=30,
        observe=(names.kubectl(cluster, "get", "namespaces"),),
    )


def authority(cluster: str, section: str, title: str, within: str) -> Step:
    """Give istiod what it signs with (source: Istio, Plug in CA Certificates).

    Args:
        within: namespace of istiod.
    """
    sources = tuple(f"--from-file={FOLDER}/{cluster}/{file}" for file in CLUSTER_FILES)
    secret = ("create", "secret", "generic", CACERTS, *sources)
    return Step(
        id=ids.cacerts(cluster),
        cluster=cluster,
        section=section,
        title=title,
        needs=(ids.system_namespace(cluster),),
        commands=(Command(names.kubectl(cluster, "-n", within, *secret)),),
        deadline=30,
        observe=(names.kubectl(cluster, "-n", within, "get", "secrets"),),
    )


def network_label(cluster: str, section: str, network: str, within: str) -> Step:
    """Tell istiod which network the cluster's pods are on (source: Istio, Install Multi-Primary on
    different networks).

    Args:
        within: the namespace that gets the label.
    """
    label = f"{names.NETWORK_LABEL}={network}"
    return Step(
        id=ids.network_label(cluster),
        cluster=cluster,
        section=section,
        title=f"Set the default network of {cluster}",
        needs=(ids.system_namespace(cluster),),
        commands=(Command(names.kubectl(cluster, "label", "namespace", within, label)),),
        deadline=30,
        observe=(names.kubectl(cluster, "get", "namespaces", "--show-labels"),),
    )


def annotation(cluster: str, section: str, title: str, in_charge: str, within: str) -> Step:
    """Name the cluster whose istiod is in charge; istiod reads it when the remote secret appears
    (source: Istio, Install Primary-Remote).

    Args:
        in_charge: by its name.
        within: the namespace that gets the annotation.
    """
    setting = f"{names.CONTROL_PLANE_ANNOTATION}={in_charge}"
    return Step(
        id=ids.control_plane_annotation(cluster),
        cluster=cluster,
        section=section,
        title=title,
        needs=(ids.system_namespace(cluster),),
        commands=(Command(names.kubectl(cluster, "annotate", "namespace", within, setting)),),
        deadline=30,
        observe=(names.kubectl(cluster, "get", "namespace", within, "-o", "yaml"),),
    )


def attached(
    cluster: str, section: str, title: str, after: str, within: str, logs: tuple[str, ...]
) -> Step:
    """Wait until an istiod elsewhere serves the cluster's webhook and gave it the root.

    Args:
        after: id of the step that it follows.
        within: namespace of what belongs to istiod in the cluster.
        logs: the call that shows what that istiod logged.
    """
    root = ("wait", "--for=create", "configmap/istio-ca-root-cert", "--timeout=75s")
    return Step(
        id=ids.attached(cluster),
        cluster=cluster,
        section=section,
        title=title,
        needs=(after,),
        commands=(
            Command(names.webhook_served(cluster, "app=sidecar-injector", 75)),
            Command(names.kubectl(cluster, "-n", within, *root)),
        ),
        deadline=165,
        observe=(
            names.webhooks(cluster),
            names.kubectl(cluster, "get", "namespace", within, "-o", "yaml"),
            names.kubectl(cluster, "-n", within, "get", "configmaps"),
            logs,
        ),
    )


def kinds(step_id: str, cluster: str, section: str, api: str, recipe: Recipe) -> Step:
    """Define the kinds of an API, before an istiod looks for them.

    Args:
        api: its name.
        recipe: see `kinds_defined`.
    """
    return Step(
        id=step_id,
        cluster=cluster,
        section=section,
        title=f"Define the kinds of {api} in {cluster}",
        needs=(),
        commands=recipe.commands,
        deadline=90,
        observe=recipe.observe,
    )


def kinds_defined(cluster: str, files: Sequence[str], plurals: Sequence[str]) -> Recipe:
    """Define kinds, and wait until they are served. That is done on the server's side, as a
    definition may be too large for an annotation (source: Gateway API, Getting started).

    Args:
        files: with the definitions, or their URLs.
        plurals: with their group, of those that are waited for.
    """
    given = [word for each in files for word in ("-f", each)]
    established = ("--for=condition=Established", *(f"crd/{each}" for each in plurals))
    return Recipe(
        (
            Command(names.kubectl(cluster, "apply", "--server-side", *given)),
            Command(names.kubectl(cluster, "wait", *established, "--timeout=30s")),
        ),
        {},
        (names.kubectl(cluster, "get", "crd"),),
    )
