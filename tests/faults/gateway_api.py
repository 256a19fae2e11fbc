"""A plugin of pytest that takes a listener from a Gateway: see `test_gateway_api`."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Final

import pytest

from mesh_fixtures.contract import SYSTEM_NAMESPACE, Lab
from mesh_fixtures.install.gateway_api import KIND
from mesh_fixtures.install.names import GATEWAY
from mesh_fixtures.patience import patient, whole
from tests.faults.separate_run import kubectl

CLUSTER: Final = "cluster2"
_USERS: Final = {"name": "http", "port": 8080, "protocol": "HTTP"}
_DEPLOYED_SECONDS: Final = 30
"""Until istiod has given the Service the ports of its Gateway."""

_COMMAND_SECONDS: Final = 60.0


@pytest.hookimpl(wrapper=True)
def pytest_mesh_sample(lab: Lab) -> Generator[None, object, object]:
    """The Gateway of a cluster is for users only, as when somebody edits it for these; and istiod
    has deployed that.
    """
    done = yield
    patch = json.dumps({"spec": {"listeners": [_USERS]}})
    _kubectl(lab, "patch", f"{KIND}/{GATEWAY}", "--type=merge", "-p", patch)
    listening = f'--for=jsonpath={{.spec.ports[?(@.name=="{_USERS["name"]}")].port}}'
    wanted, limit = f"{listening}={_USERS['port']}", f"--timeout={whole(_DEPLOYED_SECONDS)}s"
    _kubectl(lab, "wait", wanted, f"service/{GATEWAY}", limit)
    return done


def _kubectl(lab: Lab, *arguments: str) -> None:
    kubectl(lab, CLUSTER, SYSTEM_NAMESPACE, *arguments, seconds=patient(_COMMAND_SECONDS))
