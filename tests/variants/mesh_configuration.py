"""The mesh configuration of primaries, changed and restored (Istio: Global Mesh Options)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import yaml

from mesh_fixtures.install import names
from tests.faults.target import Manifest, Target

_CONFIG_MAP: Final = "istio"


@contextmanager
def with_settings(
    target: Target, settings: Manifest, part: Literal["mesh", "meshNetworks"] = "mesh"
) -> Iterator[None]:
    """Give every primary's mesh configuration some settings; those of other keys stay.

    Args:
        part: key of the ConfigMap that they are of.
    """
    system = names.SYSTEM_NAMESPACE
    clusters = [each.name for each in target.scenario.primaries]
    before = {name: target.read(name, system, "configmap", _CONFIG_MAP) for name in clusters}
    try:
        for name, found in before.items():
            content = yaml.safe_load(found["data"].get(part, "")) or {}
            data = {**found["data"], part: yaml.safe_dump({**content, **settings})}
            target.apply(name, system, {**found, "data": data})
        yield
    finally:
        for name, found in before.items():
            target.apply(name, system, found)
