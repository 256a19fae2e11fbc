"""Every requirement on every topology: what a user runs.

What there is to verify follows from the records of requirements (`mesh_fixtures/requirements/`) and
the files of scenarios; select by either, as in `-k "multi-network and TRAFFIC-2"`.
"""

from __future__ import annotations

from collections.abc import Callable


def test_requirement(mesh_verify: Callable[[], None]) -> None:
    mesh_verify()
