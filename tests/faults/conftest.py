"""What the fault tests of one topology share: the mesh that is broken and repaired."""

from __future__ import annotations

from tests.faults.session import healthy_mesh, pytest_collection_modifyitems

__all__ = ["healthy_mesh", "pytest_collection_modifyitems"]
