"""The records of requirements, and what becomes of a check."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mesh_examples import SCENARIOS

from mesh_fixtures import requirements
from mesh_fixtures.errors import LabError, ProbeError
from mesh_fixtures.requirements import (
    REQUIREMENTS,
    Outcome,
    Requirement,
    applicable,
    by_id,
)
from mesh_fixtures.requirements.registry import markdown_entries, markdown_entry
from mesh_fixtures.scenario import FEATURES
from mesh_fixtures.verdict.findings import Finding, Unmet

FINDING = Finding("cluster1", "two endpoints", "one")
TROUBLE = ProbeError(wanted="an answer", seen="none", where="cluster1")


class Mesh:
    forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


def requirement(judge: Any, **changes: Any) -> Requirement:
    return replace(Requirement("PONY-1", "extended", "There is a pony.", judge), **changes)


def test_ids_are_unique_and_features_are_of_scenarios() -> None:
    ids = [each.id for each in REQUIREMENTS]
    assert len(set(ids)) == len(ids)
    for each in REQUIREMENTS:
        assert re.fullmatch(r"[A-Z]+-[1-9][0-9]*", each.id)
        assert set(each.features) <= FEATURES
        assert each.title


def test_each_module_that_is_named_like_a_requirement_has_it() -> None:
    folder = Path(requirements.__file__).parent
    modules = {each.stem for each in folder.glob("*_[0-9]*.py")}
    assert modules == {each.id.lower().replace("-", "_") for each in REQUIREMENTS}
    for each in REQUIREMENTS:
        assert each.judge.__module__.rpartition(".")[2] == each.id.lower().replace("-", "_")


def test_look_up() -> None:
    for each in REQUIREMENTS:
        assert by_id(each.id) is each
    with pytest.raises(LookupError, match=r"no requirement 'PONY-1'; valid values: TRUST-1, "):
        by_id("PONY-1")


def test_entries_have_what_people_ask_for() -> None:
    entry = markdown_entry(by_id("ROLLBACK-1"))
    assert entry.startswith(by_id("ROLLBACK-1").title)
    assert "- Level: extended, upgrade" in entry
    assert markdown_entries(REQUIREMENTS).startswith(f"## TRUST-1\n\n{REQUIREMENTS[0].title}\n")


def test_each_says_who_promises_it() -> None:
    for each in REQUIREMENTS:
        assert each.section, each.id
        assert each.url.startswith("https://istio.io/latest/docs/"), each.id
        assert {*each.rests_on, *each.rests_on_for_remotes} <= {other.id for other in REQUIREMENTS}


def test_applicability_follows_from_features() -> None:
    single = applicable(SCENARIOS["multi-primary"])
    assert by_id("GATEWAY-1") not in single
    assert by_id("GATEWAY-1").missing_features(SCENARIOS["multi-primary"]) == ("east-west-gateway",)
    more = {"dns_proxying": True, "mcs": True}
    everything = SCENARIOS["two-regions"].model_copy(update=more)
    assert applicable(everything) == REQUIREMENTS
    anywhere = tuple(each for each in REQUIREMENTS if "locality" not in each.features)
    without = SCENARIOS["primary-remote-multi-network"].model_copy(update=more)
    assert applicable(without) == anywhere
    assert [each for each in REQUIREMENTS if each in single] == list(single)


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Outcome.judged([]), "met"),
        (Outcome.judged([FINDING, FINDING]), "unmet"),
        (Outcome.inconclusive(TROUBLE), "inconclusive"),
    ],
)
def test_results(outcome: Outcome, result: str) -> None:
    assert outcome.result == result
    assert pickle.loads(pickle.dumps(outcome)).result == result


def test_only_what_holds_is_let_through() -> None:
    Outcome.judged([], {"share": 0.5}).require()
    with pytest.raises(Unmet) as unmet:
        Outcome.judged([FINDING, FINDING]).require()
    assert unmet.value.findings == (FINDING,)
    with pytest.raises(ProbeError) as trouble:
        Outcome.inconclusive(TROUBLE).require()
    assert trouble.value is TROUBLE


@pytest.mark.parametrize("trouble", [TROUBLE, LabError(wanted="a node", seen="none", where="lab")])
def test_trouble_is_an_outcome_of_a_check(trouble: Exception) -> None:
    def judge(mesh: Any) -> Outcome:
        raise trouble

    outcome = requirement(judge).check(Mesh())  # type: ignore[arg-type]
    assert (outcome.result, outcome.trouble) == ("inconclusive", trouble)


def test_nothing_fails_early_unless_it_can() -> None:
    unmet = Outcome.judged([FINDING])
    mesh: Any = Mesh()
    assert requirement(lambda mesh: unmet).check_early(mesh).result == "met"
    early = requirement(lambda mesh: Outcome.judged([]), judge_early=lambda mesh: unmet)
    assert early.check_early(mesh).result == "unmet"
    assert early.check(mesh).result == "met"


def test_a_defect_of_a_check_is_no_outcome() -> None:
    def judge(mesh: Any) -> Outcome:
        raise KeyError("cluster1")

    with pytest.raises(KeyError, match="cluster1"):
        requirement(judge).check(Mesh())  # type: ignore[arg-type]


@pytest.mark.parametrize("disruptive", [False, True])
@pytest.mark.parametrize("trouble", [False, True])
def test_a_mesh_is_forgotten_once_it_was_disrupted(disruptive: bool, trouble: bool) -> None:
    def judge(mesh: Any) -> Outcome:
        if trouble:
            raise TROUBLE
        return Outcome.judged([])

    mesh: Any = Mesh()
    requirement(judge, disruptive=disruptive).check(mesh)
    assert mesh.forgotten == disruptive


def test_the_plugin_is_loaded_without_them() -> None:
    script = "import sys, mesh_fixtures.plugin; sys.exit('kubernetes' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
