"""Hooks by which a conftest or another plugin replaces parts of the harness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from mesh_fixtures.contract import Lab, Provider
from mesh_fixtures.progress import Progress

if TYPE_CHECKING:
    from mesh_fixtures.requirements import Requirement


@pytest.hookspec(firstresult=True)
def pytest_mesh_provider(config: pytest.Config) -> Provider | None:
    """Return what makes the labs of this run, or None to leave it to the next implementation."""


@pytest.hookspec
def pytest_mesh_requirements(config: pytest.Config) -> Sequence[Requirement] | None:
    """Return requirements of your own, which are then verified with those of this project."""


@pytest.hookspec(firstresult=True)
def pytest_mesh_install(config: pytest.Config, lab: Lab, progress: Progress) -> bool | None:
    """Install the mesh of `lab.scenario`; return True when done, None to leave it to the next."""


@pytest.hookspec(firstresult=True)
def pytest_mesh_sample(config: pytest.Config, lab: Lab, progress: Progress) -> bool | None:
    """Deploy the sample workloads and wait for them; return True when done."""
