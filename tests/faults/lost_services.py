"""A plugin of pytest that rotates remote secrets before a run begins: see `test_lossy_istio`.

Services of others are there by then, those of the run are not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Final

import pytest

from mesh_fixtures.commands.check import as_json, check
from mesh_fixtures.contract import Lab
from mesh_fixtures.kube import KubeEditor
from mesh_fixtures.kube.credentials import token_request, with_token
from mesh_fixtures.kube.objects import encoded
from mesh_fixtures.kube.resources import SECRETS
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.progress import Progress
from mesh_fixtures.requirements import ObservedMesh
from mesh_fixtures.requirements.resilience_rotation import TOKEN_SECONDS, Rotation, planned
from mesh_fixtures.requirements.resilience_rotation import taken_up as used
from mesh_fixtures.requirements.resilience_traffic import now
from mesh_fixtures.verdict.convergence import settle
from tests.faults.target import Target

CHECKED: Final = "MESH_TEST_CHECKED"
"""Environment variable that names the file for what `check` says after the rotations."""

OTHER: Final = "other"
"""Name of the service of others, and of its namespace."""

ROTATIONS: Final = 2
"""An istiod that loses endpoints by a rotation may do so by the second one only."""

_BETWEEN_SECONDS: Final = 12.0
"""For an istiod to let go of what it read by the former token."""


@pytest.hookimpl(wrapper=True)
def pytest_mesh_install(lab: Lab, progress: Progress) -> Generator[None, object, object]:
    done = yield
    with MeshView(lab) as view:
        target = Target(view, progress)
        for cluster in view.data_planes:
            deploy_other(target, cluster)
        mesh = ObservedMesh(view, requests=0, has_samples=False)
        for number in range(ROTATIONS):
            rotate(mesh, number)
            time.sleep(patient(_BETWEEN_SECONDS))
    begun = time.monotonic()
    seen = check(lab)
    text = json.dumps(as_json(seen, time.monotonic() - begun), indent=2)
    Path(os.environ[CHECKED]).write_text(text, encoding="utf-8")
    return done


def deploy_other(target: Target, cluster: str) -> None:
    """A service of somebody else, whose pod takes traffic."""
    target.kubectl(cluster, "create", "namespace", OTHER)
    target.apply(cluster, OTHER, *other_service(target.lab.images.sleep))
    target.await_rollout(cluster, OTHER, OTHER)


def other_service(image: str) -> Iterable[dict[str, Any]]:
    """The service, and a Deployment whose pod has no proxy."""
    labels = {"app": OTHER}
    container = {"name": OTHER, "image": image, "command": ["sleep", "infinity"]}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": OTHER},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80}]},
    }
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OTHER},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


def rotate(mesh: ObservedMesh, number: int) -> None:
    """Put new tokens into all remote secrets, as somebody does who looks after a mesh, and wait
    until they are used.
    """
    rotations = [planned(mesh, which) for which in mesh.scenario.remote_secrets]
    tokens = [new_token(mesh, each) for each in rotations]
    change = now()
    for each, token in zip(rotations, tokens, strict=True):
        of, meta = each.which.of, each.secret
        data = {"data": encoded({of: with_token(each.kubeconfig, token)})}
        with KubeEditor(mesh.view.lab.clusters[each.which.installed_in]) as editor:
            editor.patch(SECRETS, meta.namespace, meta.name, data)
    for each in rotations:
        used(mesh, each, change, str(number)).require()


def new_token(mesh: ObservedMesh, rotation: Rotation) -> str:
    """A further token of the account that a remote secret has one of."""
    of, (namespace, account) = rotation.which.of, rotation.account
    with KubeEditor(mesh.view.lab.clusters[of]) as editor:
        editor.create(token_request(namespace, rotation.token, account), namespace)

    def made() -> str:
        secret = mesh.view.kube[of].get(SECRETS, namespace, rotation.token)
        return secret.data.get("token", b"").decode() if secret else ""

    settled = settle(made, bool, deadline=patient(TOKEN_SECONDS), interval=0.1)
    assert settled.accepted, f"no token in {rotation.token} of {of}"
    return settled.value
