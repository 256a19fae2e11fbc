"""The table of faults fits the scenarios, the requirements and the causes."""

from __future__ import annotations

import re

import pytest

from mesh_fixtures import providers
from mesh_fixtures.diagnosis.rules import KINDS
from mesh_fixtures.requirements import applicable
from tests.faults.fault import Fault
from tests.faults.table import FAULTS, by_id
from tests.faults.topologies import SCENARIOS, TOPOLOGIES

EACH = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)


def test_ids_are_unique() -> None:
    ids = [fault.id for fault in FAULTS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", each) for each in ids)


def test_look_up() -> None:
    for fault in FAULTS:
        assert by_id(fault.id) is fault
    with pytest.raises(LookupError, match=r"no fault 'gremlins'; valid values: .*cacerts-missing"):
        by_id("gremlins")


@EACH
def test_requirements_apply_to_the_topology(fault: Fault) -> None:
    assert fault.topology in TOPOLOGIES
    known = applicable(SCENARIOS[fault.topology])
    assert fault.fails
    assert {*fault.fails} <= {each.id for each in known}
    assert {*fault.unaffected} <= {each.id for each in known if not each.disruptive}
    assert not {*fault.fails} & {*fault.unaffected}


@EACH
def test_something_must_hold_while_it_is_broken(fault: Fault) -> None:
    assert len(set(fault.unaffected)) == len(fault.unaffected) > 0


@EACH
def test_the_cause_is_one_that_diagnosis_names(fault: Fault) -> None:
    assert fault.named in {kind.id for kind in KINDS}


@EACH
def test_the_provider_exists(fault: Fault) -> None:
    assert fault.provider in ("", *providers.names(external=False))


def test_every_topology_has_faults() -> None:
    assert {fault.topology for fault in FAULTS} == {*TOPOLOGIES}
