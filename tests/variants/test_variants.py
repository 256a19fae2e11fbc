"""Each variant is verified without a false word, and is the guide's mesh again afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.healthy import HealthyMesh
from tests.faults.topologies import chosen
from tests.foreign.by_hand import Administrator
from tests.variants.table import VARIANTS
from tests.variants.variant import Variant
from tests.variants.visit import verify


def parameter(variant: Variant) -> object:
    return pytest.param(variant, chosen(variant.topology), id=variant.id)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("variant", "mesh_scenario"),
    [parameter(variant) for variant in VARIANTS],
    indirect=["mesh_scenario"],
    scope="session",
)
def test_variant(
    variant: Variant,
    healthy_mesh: HealthyMesh,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    lab = healthy_mesh.target.lab
    if variant.provider not in ("", lab.provider):
        pytest.skip(f"only labs of the provider {variant.provider} can be changed like this")
    healthy_mesh.begin()
    visitor = Administrator(lab).as_visitor(tmp_path, variant.names)
    begun = time.monotonic()
    with variant.make(healthy_mesh.target):
        record_property("seconds_to_make", round(time.monotonic() - begun, 1))
        begun = time.monotonic()
        visit = verify(visitor, variant)
        record_property("seconds_to_verify", round(time.monotonic() - begun, 1))
        begun = time.monotonic()
    record_property("seconds_to_restore", round(time.monotonic() - begun, 1))
    record_property("seconds_to_be_healthy", round(healthy_mesh.require_healthy(), 1))
    visit.require(variant)
