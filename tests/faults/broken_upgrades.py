"""A plugin of pytest that prepares a mesh whose upgrade fails: see `test_broken_upgrade`."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from typing import Any, Final

import pytest

from mesh_fixtures.contract import SAMPLE_NAMESPACE, Lab
from mesh_fixtures.install.upgrade import revision_of
from mesh_fixtures.patience import patient
from mesh_fixtures.workloads import SERVICE, host
from tests.faults.separate_run import kubectl

FAULT: Final = "MESH_TEST_BROKEN_UPGRADE"
"""Environment variable that names one of `FAULTS`."""

PINNED_CLUSTER: Final = "cluster2"
_COMMAND_SECONDS: Final = 120.0


@pytest.hookimpl(wrapper=True)
def pytest_mesh_sample(lab: Lab) -> Generator[None, object, object]:
    done = yield
    FAULTS[os.environ[FAULT]](lab)
    return done


def pin_proxies(lab: Lab) -> None:
    """HelloWorld of a cluster names its proxy's image, as people do to wait for a fix."""
    assert lab.earlier is not None
    images = lab.earlier.images
    pinned = {"sidecar.istio.io/proxyImage": f"{images.istio_hub}/proxyv2:{images.istio_tag}"}
    patch = {"spec": {"template": {"metadata": {"annotations": pinned}}}}
    version = lab.scenario.cluster(PINNED_CLUSTER).helloworld
    deployment = f"deployment/helloworld-{version}"
    _kubectl(lab, PINNED_CLUSTER, "patch", deployment, "-p", json.dumps(patch))
    _kubectl(lab, PINNED_CLUSTER, "rollout", "status", deployment)


def configure_new_revision(lab: Lab) -> None:
    """Configuration that only the new revision reads: every other request is answered by 503."""
    name = host(SAMPLE_NAMESPACE)
    route: Mapping[str, Any] = {
        "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 50}}},
        "route": [{"destination": {"host": name}}],
    }
    service = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {
            "name": SERVICE,
            "labels": {"istio.io/rev": revision_of(lab.images.istio_version)},
        },
        "spec": {"hosts": [name], "http": [route]},
    }
    for primary in lab.scenario.primaries:
        _kubectl(lab, primary.name, "apply", "-f", "-", content=json.dumps(service))


FAULTS: Final = {"pinned": pin_proxies, "configuration": configure_new_revision}


def _kubectl(lab: Lab, cluster: str, *arguments: str, content: str = "") -> None:
    kubectl(
        lab,
        cluster,
        SAMPLE_NAMESPACE,
        *arguments,
        seconds=patient(_COMMAND_SECONDS),
        content=content,
    )
