from __future__ import annotations

from collections.abc import Mapping

import pytest

from mesh_fixtures.artifacts.parts import Built
from mesh_fixtures.progress import Progress
from tests.fidelity import programs


@pytest.fixture(scope="session")
def istio_parts() -> Mapping[str, Built]:
    """What Istio's suites need, compiled if it is not there yet."""
    return programs.ensure_istio(Progress("fidelity"))


@pytest.fixture(scope="session")
def kubernetes_parts() -> Mapping[str, Built]:
    """What Kubernetes' suite needs, compiled if it is not there yet."""
    return programs.ensure_kubernetes(Progress("fidelity"))
