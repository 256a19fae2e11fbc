"""A further service of HelloWorld, there while somebody needs one with a rule of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from mesh_fixtures.kube import KubeEditor
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import resource_of
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.workloads import rule_manifest, service_manifest


@contextmanager
def second_service(
    view: MeshView, service: str, policy: Mapping[str, Any], distribution: str = ""
) -> Iterator[None]:
    """HelloWorld by a name that nobody else asks for, and its rule, while the block runs. Its
    removal is started, whatever ends the block, and not waited for; in an existing mesh, it is
    deleted with the run's namespace.

    Args:
        policy: the rule's traffic policy.
        distribution: the Service's `trafficDistribution`; empty for none.

    Raises:
        ProbeError: an API server cannot be asked or refuses.
    """
    primaries = [each.name for each in view.scenario.primaries if each.name in view.kube]
    rules = {name: _rule(view, name, service, policy) for name in primaries}
    of_all: Json = yaml.safe_load(service_manifest(service, distribution))
    services = dict.fromkeys(view.kube, of_all)
    try:
        # in this order: no istiod knows the service of any cluster without its own rule
        parallel_map(lambda cluster: _create(view, cluster, rules[cluster]), rules)
        parallel_map(lambda cluster: _create(view, cluster, services[cluster]), services)
        yield
    finally:
        if not view.lab.external:
            parallel_map(lambda cluster: _delete(view, cluster, services[cluster]), services)
            parallel_map(lambda cluster: _delete(view, cluster, rules[cluster]), rules)


def _rule(view: MeshView, cluster: str, service: str, policy: Mapping[str, Any]) -> Json:
    kube = view.kube[cluster]
    domain = kube.names.cluster_domain
    rule: Json = yaml.safe_load(rule_manifest(kube.sample_namespace, service, policy, domain))
    return rule


def _create(view: MeshView, cluster: str, item: Json) -> None:
    """An object that exists by that name was left by a killed run."""
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        editor.create(item, view.kube[cluster].sample_namespace)


def _delete(view: MeshView, cluster: str, item: Json) -> None:
    namespace = view.kube[cluster].sample_namespace
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        editor.delete(resource_of(item), namespace, item["metadata"]["name"])
