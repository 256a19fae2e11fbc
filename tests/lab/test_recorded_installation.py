"""A mesh that is installed as it was recorded has the objects of one that istioctl installs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.commands import Commands, environment_of, exported, removed_afterwards, succeed
from tests.lab.mesh_objects import differences, objects_of

SCENARIO = "primary-remote-multi-network"
CLUSTERS = ("cluster1", "cluster2")

EXPECTED = (
    "CustomResourceDefinition /gateways.networking.istio.io",
    "Deployment istio-system/istiod",
    "Deployment istio-system/istio-ingressgateway",
    "Deployment istio-system/istio-eastwestgateway",
    "MutatingWebhookConfiguration /istio-revision-tag-default",
    "ValidatingWebhookConfiguration /istiod-default-validator",
    "Service istio-system/istiod-revision-tag-default",
    "Deployment sample/helloworld-v1",
)
"""Some of what must be in a primary, so that nothing is compared with nothing."""


def installed(state: Path, *options: str) -> Mapping[str, Mapping[str, Any]]:
    """Objects by cluster of a mesh that is installed like this, and removed again."""
    environment = environment_of(state)
    with removed_afterwards(environment):
        lab = Commands(exported(environment, succeed(environment, "up", SCENARIO, *options)))
        return {cluster: objects_of(lab, cluster) for cluster in CLUSTERS}


def test_the_same_objects_are_there_as_by_istioctl(tmp_path: Path) -> None:
    by_istioctl = installed(tmp_path)
    recorded = installed(tmp_path, "--apply", "recorded")
    assert by_istioctl["cluster1"].keys() >= {*EXPECTED}
    assert len(by_istioctl["cluster2"]) > 50
    different = "\n".join(differences(by_istioctl, recorded))
    assert not different, different
