"""The table of variants fits the scenarios and the requirements."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh_fixtures import providers
from mesh_fixtures.requirements import by_id
from tests import variants
from tests.faults.topologies import SCENARIOS
from tests.variants.table import VARIANTS
from tests.variants.variant import Variant

EACH = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.id)


def test_ids_are_unique() -> None:
    ids = [variant.id for variant in VARIANTS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", each) for each in ids)


@EACH
def test_the_topology_and_the_provider_exist(variant: Variant) -> None:
    assert variant.topology in SCENARIOS
    assert variant.provider in ("", *providers.names(external=False))


@EACH
def test_names_are_given_to_clusters_of_the_topology(variant: Variant) -> None:
    assert {*variant.names} <= {each.name for each in SCENARIOS[variant.topology].clusters}


@EACH
def test_a_healthy_mesh_fails_nothing_that_the_guide_promises(variant: Variant) -> None:
    assert {by_id(each).level for each in variant.fails} <= {"extended"}
    assert len(variant.fails) <= 1


@EACH
def test_what_cannot_be_verified_as_given_is_not_judged(variant: Variant) -> None:
    assert not (variant.refusal and (variant.fails or variant.notes))
    assert variant.refusal or not variant.is_silent


def test_the_list_of_every_area_is_part_of_the_table() -> None:
    folder = Path(str(variants.__file__)).parent
    areas = {file.stem for file in folder.glob("*.py") if "VARIANTS: Final =" in file.read_text()}
    source = (folder / "table.py").read_text()
    assert areas == {*re.findall(r"\*(\w+)\.VARIANTS", source)}
