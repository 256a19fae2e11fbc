"""What the variants of one topology share: the mesh that is changed and restored."""

from __future__ import annotations

from tests.faults.session import healthy_mesh, pytest_collection_modifyitems

__all__ = ["healthy_mesh", "pytest_collection_modifyitems"]
