"""Each requirement, and each cause that is called certain, is shown by a fault on a real mesh.

A new one comes with a fault.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh_fixtures.diagnosis.cause import Kind
from mesh_fixtures.diagnosis.rules import KINDS, RULES
from mesh_fixtures.requirements import REQUIREMENTS
from tests.faults import table


def shown() -> set[str]:
    """Ids of requirements that fail and of causes that are named while a real mesh is broken."""
    tests = Path(table.__file__).parent.glob("test_*.py")
    texts = {text for file in tests for text in asserted(file.read_text(encoding="utf-8"))}
    return texts.union(*({*fault.fails, fault.named} for fault in table.FAULTS))


def asserted(source: str) -> Iterator[str]:
    """Texts in assertions, by which a test that has no place in the table names ids."""
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Assert):
            for node in ast.walk(statement):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def called_certain() -> set[str]:
    """Ids of the kinds of causes that a rule may call certain."""
    doubtful: set[str] = set()
    for module in {sys.modules[rule.__module__] for rule in RULES}:
        names = never_certain(inspect.getsource(module))
        doubtful |= {each.id for each in map(vars(module).get, names) if isinstance(each, Kind)}
    return {kind.id for kind in KINDS} - doubtful


def never_certain(source: str) -> set[str]:
    """Names that are always given to `Cause` with a certainty that is a constant, and a lesser one.

    A kind is called certain if in doubt, as one that a function gets as an argument.
    """
    certain: dict[str, bool] = {}
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Cause":
            given = {each.arg: each.value for each in call.keywords}.get("certainty")
            lesser = isinstance(given, ast.Constant) and given.value != "certain"
            for name in _names(call.args[0]):
                certain[name] = certain.get(name, False) or not lesser
    return {name for name, is_certain in certain.items() if not is_certain}


def _names(kind: ast.expr) -> Iterator[str]:
    """Names of what may be the kind: alternatives, and those of which a variant is made."""
    if isinstance(kind, ast.IfExp):
        yield from (*_names(kind.body), *_names(kind.orelse))
    elif isinstance(kind, ast.Call) and isinstance(kind.func, ast.Attribute):
        yield from _names(kind.func.value)
    elif isinstance(kind, ast.Name):
        yield kind.id


@pytest.mark.parametrize(
    "ids",
    [{each.id for each in REQUIREMENTS}, called_certain()],
    ids=["requirements", "causes"],
)
def test_each_has_a_fault(ids: set[str]) -> None:
    assert not ids - shown(), "add a fault that shows it: see tests/faults"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("Cause(LOSS, clusters, certainty='likely')", {"LOSS"}),
        ("Cause(LOSS.following(DNS.id) if far else DNS, certainty='likely')", {"LOSS", "DNS"}),
        ("Cause(LOSS.following(DNS.id), certainty='likely')", {"LOSS"}),
        ("Cause(LOSS, clusters)", set()),
        ("Cause(LOSS, clusters, certainty='certain')", set()),
        ("Cause(LOSS, clusters, certainty='certain' if closed else 'likely')", set()),
        ("Cause(LOSS, certainty='likely')\nCause(LOSS)", set()),
        ("Cause(LOSS)\nCause(LOSS, certainty='likely')", set()),
    ],
)
def test_a_kind_is_never_certain_if_no_cause_of_it_may_be(source: str, names: set[str]) -> None:
    assert never_certain(source) == names


def test_a_test_shows_what_it_asserts() -> None:
    source = "started = 'a'\nassert diagnosis.ids[:1] == ('gateway-missing',), f'{started}'"
    assert [*asserted(source)] == ["gateway-missing"]
