"""The mesh configuration of primaries, changed and restored (Istio: Global Mesh Options)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mesh_fixtures.install import names
from tests.faults.control_planes import MESH, with_settings
from tests.faults.target import Manifest, Target


@contextmanager
def changed(
    target: Target, settings: Manifest, part: Literal["mesh", "meshNetworks"] = "mesh"
) -> Iterator[None]:
    """Give every primary's mesh configuration some settings; those of other keys stay.

    Args:
        part: key of the ConfigMap that they are of.
    """
    system = names.SYSTEM_NAMESPACE
    clusters = [each.name for each in target.scenario.primaries]
    before = {name: target.read(name, system, "configmap", MESH) for name in clusters}
    try:
        for name, found in before.items():
            target.apply(name, system, with_settings(found, settings, part))
        yield
    finally:
        for name, found in before.items():
            target.apply(name, system, found)
