from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mesh_fixtures.artifacts.parts import Built
from mesh_fixtures.progress import Progress
from mesh_fixtures.session.options import Settings
from tests.fidelity import programs


@pytest.fixture(scope="session")
def istio_parts() -> Mapping[str, Built]:
    """What Istio's suites need, compiled if it is not there yet."""
    return programs.ensure_istio(Progress("fidelity"))


@pytest.fixture(scope="session")
def kubernetes_parts() -> Mapping[str, Built]:
    """What Kubernetes' suite needs, compiled if it is not there yet."""
    return programs.ensure_kubernetes(Progress("fidelity"))


@pytest.fixture(scope="session")
def report_folder(mesh_settings: Settings, pytestconfig: pytest.Config) -> Path:
    """Where reports of suites go: a folder of those that this run writes."""
    return mesh_settings.report_folder(pytestconfig.rootpath) / "fidelity"
