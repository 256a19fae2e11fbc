"""Proxies, and what only looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.artifacts.images import PAUSE
from mesh_fixtures.install import names
from mesh_fixtures.kube.resources import PODS
from tests.faults.table import TWO_NETWORKS
from tests.faults.target import Manifest, Target
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_ZTUNNEL: Final = "ztunnel"


@contextmanager
def ambient_beside_sidecars(target: Target) -> Iterator[None]:
    """Each cluster has a ztunnel, whose container is called as a sidecar's is, and no Envoy."""
    clusters = [each.name for each in target.scenario.clusters]
    try:
        for cluster in clusters:
            target.apply(cluster, _SYSTEM, _ztunnel(target.lab.images.pull_policy))
        for cluster in clusters:
            target.until(
                "a running ztunnel",
                cluster,
                lambda kube: [each for each in kube.list(PODS, _SYSTEM) if each.name == _ZTUNNEL],
                lambda pods: [each.serving for each in pods] == [True],
            )
        yield
    finally:
        for cluster in clusters:
            target.delete(cluster, _SYSTEM, f"pod/{_ZTUNNEL}")


def _ztunnel(pull_policy: str) -> Manifest:
    """Its form: ztunnel itself wants kernel parts and a node agent that the labs do not have."""
    labels = {
        "app": "ztunnel",
        "sidecar.istio.io/inject": "false",
        "istio.io/dataplane-mode": "none",
    }
    container = {"name": "istio-proxy", "image": PAUSE, "imagePullPolicy": pull_policy}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _ZTUNNEL, "labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


VARIANTS: Final = (
    Variant(
        id="ambient-beside-sidecars",
        mesh="ztunnel runs in istio-system, in a container that is called istio-proxy.",
        topology=TWO_NETWORKS,
        make=ambient_beside_sidecars,
    ),
)
