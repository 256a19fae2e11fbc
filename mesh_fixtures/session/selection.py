"""Which scenarios a run verifies, and which tests apply to each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.scenario import FEATURES, Scenario, load_scenarios


@dataclass(frozen=True)
class Chosen:
    """A scenario that this plugin chose for a test; tests may have parameters of their own."""

    scenario: Scenario


def choose(folder: Path, topologies: Sequence[str]) -> tuple[Scenario, ...]:
    """Read the scenarios of a folder and keep those asked for, in the folder's order.

    Args:
        topologies: exact ids; empty means all.

    Raises:
        pytest.UsageError: a file cannot be used, or an id is not there.
    """
    try:
        scenarios = load_scenarios(folder)
    except ScenarioError as error:
        raise pytest.UsageError(str(error)) from error
    known = [scenario.id for scenario in scenarios]
    for topology in topologies:
        if topology not in known:
            raise pytest.UsageError(
                f"--mesh-topology: there is no {topology!r} in {folder}; "
                f"valid values: {', '.join(known)}"
            )
    return tuple(s for s in scenarios if not topologies or s.id in topologies)


def is_parametrized(markers: Iterable[pytest.Mark]) -> bool:
    """Whether a test's own `parametrize` markers already give it scenarios."""
    for mark in markers:
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        if "scenario" in (names.replace(",", " ").split() if isinstance(names, str) else names):
            return True
    return False


def parameters(scenarios: Iterable[Scenario], markers: Iterable[pytest.Mark]) -> list[object]:
    """A test's parameters: each scenario, marked to be skipped where the test does not apply.

    Raises:
        pytest.UsageError: a `requires` marker names a feature that no scenario can have.
    """
    required: list[str] = []
    for mark in markers:
        for feature in mark.args:
            if feature not in FEATURES:
                valid = ", ".join(sorted(FEATURES))
                raise pytest.UsageError(
                    f"marker requires({feature!r}): no such feature; valid values: {valid}"
                )
            required.append(feature)
    return [_parameter(scenario, required) for scenario in scenarios]


def _parameter(scenario: Scenario, required: Iterable[str]) -> object:
    lacking = [feature for feature in required if feature not in scenario.features]
    if not lacking:
        return pytest.param(Chosen(scenario), id=scenario.id)
    reason = f"{scenario.id} lacks {' and '.join(lacking)}"
    return pytest.param(Chosen(scenario), id=scenario.id, marks=pytest.mark.skip(reason=reason))


def topology_of(item: pytest.Item) -> str:
    """Id of the scenario that a test runs on; empty when it runs on none."""
    callspec = getattr(item, "callspec", None)
    chosen = callspec.params.get("scenario") if callspec is not None else None
    return chosen.scenario.id if isinstance(chosen, Chosen) else ""


def needs_lab(item: pytest.Item) -> bool:
    """Whether a test will have clusters made for it."""
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return "_starting_lab" in names and item.get_closest_marker("skip") is None


def group_by_topology(items: list[pytest.Item]) -> None:
    """Bring tests of one topology together, where its first one stands, so one lab is up at a time.

    Tests that run on no scenario keep their places before, and among each other.
    """
    order: dict[str, int] = {"": 0}
    for item in items:
        order.setdefault(topology_of(item), len(order))
    items.sort(key=lambda item: order[topology_of(item)])


def properties(item: pytest.Item) -> list[tuple[str, object]]:
    """What a report says about a test: the requirement that it verifies, and its topology."""
    found: list[tuple[str, object]] = []
    requirement = item.get_closest_marker("requirement")
    if requirement is not None and requirement.args:
        found.append(("requirement", str(requirement.args[0])))
    topology = topology_of(item)
    if topology:
        found.append(("topology", topology))
    return found
