"""Which scenarios a run verifies, and which tests apply to each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from mesh_fixtures.errors import MeshConformanceError, ScenarioError
from mesh_fixtures.options import (
    DISRUPTIVE,
    EXCLUDE,
    INCLUDE,
    LEVEL,
    UPGRADE,
    UPGRADE_FROM,
    Strategy,
)

if TYPE_CHECKING:
    from mesh_fixtures.contract import Provider
    from mesh_fixtures.requirements import Requirement
    from mesh_fixtures.scenario import Scenario
    from mesh_fixtures.session.options import Settings
    from mesh_fixtures.session.sharding import Shard

PLUGIN: Final = "mesh_fixtures.plugin"
SCENARIO: Final = "mesh_scenario"
"""The fixture that each topology is a parameter of."""

ANY_REQUIREMENT: Final = "mesh_requirement"
"""The fixture that each requirement is a parameter of."""

REQUIREMENT: pytest.StashKey[Requirement] = pytest.StashKey()
"""The requirement that a test verifies, where its marker names one."""


@dataclass(frozen=True)
class Chosen:
    """A scenario that this plugin chose for a test; tests may have parameters of their own."""

    scenario: Scenario


def choose(
    folder: Path, topologies: Sequence[str], words: Iterable[str] = ()
) -> tuple[Scenario, ...]:
    """Read the scenarios of a folder and keep those asked for, in the folder's order: all, and of
    those in its folder `more`, those that are named.

    Args:
        topologies: exact ids; empty means all.
        words: what else may name scenarios, as `words_of` finds it.

    Raises:
        pytest.UsageError: a file cannot be used, or an id is not there.
    """
    from mesh_fixtures.scenario import load_more, load_scenarios, more_files

    more = [file.stem for file in more_files(folder)]
    named = {*topologies, *(each for each in more if any(_names(word, each) for word in words))}
    try:
        scenarios = (*load_scenarios(folder), *load_more(folder, named))
    except ScenarioError as error:
        raise pytest.UsageError(str(error)) from error
    known = [scenario.id for scenario in scenarios]
    for topology in topologies:
        if topology not in known:
            valid = dict.fromkeys([*known, *more])
            raise pytest.UsageError(
                f"--mesh-topology: there is no {topology!r} in {folder}; "
                f"valid values: {', '.join(valid)}"
            )
    return tuple(s for s in scenarios if not topologies or s.id in topologies)


def words_of(config: pytest.Config) -> frozenset[str]:
    """What a run was asked for by, where ids of scenarios may be among it: the words of `-k`, and
    the parameters of tests that are named.
    """
    expression: str = config.getoption("keyword", "")
    parameters = (argument.partition("[")[2] for argument in config.args)
    return frozenset({*re.findall(r"[^\s()]+", expression), *filter(None, parameters)})


def _names(word: str, scenario: str) -> bool:
    """Whether a word is a scenario's id, or begins with it as ids of tests do; `-k` takes small
    letters for capital ones.
    """
    return re.match(rf"{re.escape(scenario)}(-|\]|$)", word, re.IGNORECASE) is not None


def choose_for(folder: Path, topologies: Sequence[str], clusters: Sequence[str]) -> Scenario:
    """The scenario that is asked for, of an existing mesh.

    Args:
        clusters: names of all that the mesh has.

    Raises:
        pytest.UsageError: as `choose`; or it is not one scenario, or one of other clusters.
    """
    chosen = choose(folder, topologies)
    if len(chosen) > 1:
        raise pytest.UsageError(
            f"--mesh-topology: {', '.join(topologies)}: clusters have one mesh; name one of these"
        )
    (scenario,) = chosen
    given = sorted(clusters)
    wanted = sorted(each.name for each in scenario.clusters)
    if given != wanted:
        raise pytest.UsageError(
            f"--mesh-kubeconfig: {scenario.id} has the clusters {', '.join(wanted)}; "
            f"given: {', '.join(given)}"
        )
    return scenario


def discover(folder: Path, provider: Provider) -> tuple[Scenario, tuple[str, ...]]:
    """The scenario that describes an existing mesh, and what is odd about the mesh. One of the
    folder, if there is one that says the same, with what the mesh does besides; of several, one
    that says it of regions, too.

    Raises:
        pytest.UsageError: there is no mesh, or the clusters cannot be looked into.
    """
    try:
        discovered = provider.discover()
    except MeshConformanceError as error:
        raise pytest.UsageError(str(error)) from error
    known = choose(folder, ()) if folder.is_dir() else ()
    found = discovered.scenario
    same = [each for each in known if each.describes_same(found)]
    besides = {"dns_proxying": found.dns_proxying, "mcs": found.mcs}
    same.sort(
        key=lambda each: (
            not each.has_regions,
            sum(getattr(each, name) != value for name, value in besides.items()),
        )
    )
    return (same or [found])[0].model_copy(update=besides), discovered.notes


def asks_for(metafunc: pytest.Metafunc, fixture: str) -> bool:
    """Whether a test asks for one of the plugin's fixtures that are parametrized, and gives it no
    parameters by itself. A fixture of that name in another project is not the plugin's.
    """
    definitions = metafunc.definition._fixtureinfo.name2fixturedefs.get(fixture, ())
    if fixture not in metafunc.fixturenames or not definitions:
        return False
    if definitions[-1].func.__module__ != PLUGIN:
        return False
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        if fixture in (names.replace(",", " ").split() if isinstance(names, str) else names):
            return False
    return True


def requirements() -> list[object]:
    """Parameters of a test that verifies any requirement, one for each that is known."""
    from mesh_fixtures.requirements import known

    return [
        pytest.param(
            each.id,
            id=each.id,
            marks=[pytest.mark.requirement(each.id), pytest.mark.timeout(each.seconds)],
        )
        for each in known()
    ]


def unselected(settings: Settings, items: Iterable[pytest.Item]) -> dict[pytest.Item, None]:
    """Tests that verify a requirement which is not asked for, in order.

    Raises:
        pytest.UsageError: something is asked for that there is not.
    """
    if not (settings.levels or settings.include or settings.exclude):
        return {}
    from mesh_fixtures.requirements.registry import selector

    try:
        is_selected = selector(settings.include, settings.exclude)
    except ValueError as error:
        flags = f"{INCLUDE.flag}, {EXCLUDE.flag}"
        raise pytest.UsageError(f"{flags}: {error}") from error
    levels = settings.levels or LEVEL.choices
    verifying = ((item, item.stash[REQUIREMENT]) for item in items if REQUIREMENT in item.stash)
    return {
        item: None for item, each in verifying if each.level not in levels or not is_selected(each)
    }


def parameters(scenarios: Iterable[Scenario], markers: Iterable[pytest.Mark]) -> list[object]:
    """A test's parameters: each scenario, marked to be skipped where the test does not apply.

    Raises:
        pytest.UsageError: a `requires` marker names a feature that no scenario can have.
    """
    from mesh_fixtures.scenario import FEATURES

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
    missing = [feature for feature in required if feature not in scenario.features]
    marks = [_skipped(scenario, missing)] if missing else []
    return pytest.param(Chosen(scenario), id=scenario.id, marks=marks)


def _skipped(scenario: Scenario, missing: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=f"{scenario.id} lacks {' and '.join(missing)}")


def mark_by_requirement(item: pytest.Item) -> None:
    """Mark a test as the record of its requirement says: skipped where it does not apply, and
    disruptive.

    Raises:
        pytest.UsageError: its `requirement` marker does not name one.
    """
    mark = item.get_closest_marker("requirement")
    if mark is None:
        return
    # Their probes take a moment to import, which tests without requirements are spared.
    from mesh_fixtures.requirements import by_id

    try:
        (name,) = mark.args
        requirement = by_id(name)
    except (LookupError, ValueError) as error:
        why = error if isinstance(error, LookupError) else "takes one id"
        given = ", ".join(map(repr, mark.args))
        message = f"{item.nodeid}: marker requirement({given}): {why}"
        raise pytest.UsageError(message) from error
    item.stash[REQUIREMENT] = requirement
    if requirement.disruptive:
        item.add_marker("disruptive")
    scenario = _scenario_of(item)
    if scenario is not None and (missing := requirement.missing_features(scenario)):
        item.add_marker(_skipped(scenario, missing))


def skip_disruptive(item: pytest.Item) -> None:
    """Skip a test that would disrupt the mesh."""
    if item.get_closest_marker("disruptive") is not None:
        reason = f"disrupts the mesh; {DISRUPTIVE.flag} verifies it"
        item.add_marker(pytest.mark.skip(reason=reason))


def skip_upgrades(item: pytest.Item, strategy: Strategy | None) -> None:
    """Skip a test that verifies an upgrade, unless it is by that strategy.

    Args:
        strategy: None where meshes are not upgraded.
    """
    requirement = item.stash.get(REQUIREMENT, None)
    if requirement is None or not requirement.upgrades or strategy in requirement.upgrades:
        return
    needed = " or ".join(requirement.upgrades)
    if strategy:
        reason = f"verifies an upgrade by {UPGRADE.flag} {needed}"
    else:
        reason = f"verifies an upgrade; {UPGRADE_FROM.flag} VERSION verifies it"
    item.add_marker(pytest.mark.skip(reason=reason))


def skip_on_existing(item: pytest.Item) -> None:
    """Skip a test that would disrupt an existing mesh."""
    requirement = item.stash.get(REQUIREMENT, None)
    if requirement is not None and (requirement.disruptive or requirement.upgrades):
        does = "disrupts" if requirement.disruptive else "upgrades"
        reason = f"{requirement.id} {does} the mesh, which is an existing one"
        item.add_marker(pytest.mark.skip(reason=reason))


def topology_of(item: pytest.Item) -> str:
    """Id of the scenario that a test runs on; empty when it runs on none."""
    scenario = _scenario_of(item)
    return "" if scenario is None else scenario.id


def _scenario_of(item: pytest.Item) -> Scenario | None:
    callspec = getattr(item, "callspec", None)
    chosen = callspec.params.get(SCENARIO) if callspec is not None else None
    return chosen.scenario if isinstance(chosen, Chosen) else None


def needs_lab(item: pytest.Item) -> bool:
    """Whether a test will have clusters made for it."""
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return "_mesh_starting_lab" in names and item.get_closest_marker("skip") is None


def group_by_topology(items: list[pytest.Item]) -> None:
    """Bring tests of one topology together, where its first one stands, so one lab is up at a time.

    Those of upgrades come first and disruptive ones last, in their order. Tests that run on no
    scenario keep their places before, and among each other.
    """
    order: dict[str, int] = {"": 0}
    for item in items:
        order.setdefault(topology_of(item), len(order))
    items.sort(key=lambda item: (order[topology_of(item)], _rank(item)))


def outside(
    shard: Shard, measured: Mapping[str, float], items: Iterable[pytest.Item]
) -> dict[pytest.Item, None]:
    """Tests that belong to other shards, in order: those of a topology stay together, and those of
    none are in the first.

    Args:
        measured: seconds by topology that earlier runs took.
    """
    from mesh_fixtures.session.sharding import estimate, split

    seconds: dict[str, float] = {}
    tests = list(items)
    for item in tests:
        scenario = _scenario_of(item)
        if scenario is not None:
            estimated = estimate(scenario, measured) if needs_lab(item) else 0.0
            seconds[scenario.id] = max(estimated, seconds.get(scenario.id, 0.0))
    mine = shard.of(split(seconds, shard.count))
    if shard.index == 1:
        mine |= {""}
    return {item: None for item in tests if topology_of(item) not in mine}


def _rank(item: pytest.Item) -> int:
    """When a test comes among those of its topology."""
    if not topology_of(item):
        return 0
    requirement = item.stash.get(REQUIREMENT, None)
    is_upgrade = requirement is not None and bool(requirement.upgrades)
    if is_upgrade and item.get_closest_marker("skip") is None:
        return -1
    return int(item.get_closest_marker("disruptive") is not None)


NOTE: Final = "note"
"""Property of a test with something that is unusual and works; there may be several."""

RESERVED: Final = frozenset(
    {"requirement", "level", "title", "topology", "provider", "install", "result", "cause", NOTE}
)
"""Properties of tests that are no figures."""


def verifying(items: Iterable[pytest.Item]) -> dict[str, tuple[str, str]]:
    """Topology and requirement of each test that verifies one on a scenario, by the test's id."""
    return {
        item.nodeid: (topology_of(item), item.stash[REQUIREMENT].id)
        for item in items
        if topology_of(item) and REQUIREMENT in item.stash
    }


def scenarios_of(items: Iterable[pytest.Item]) -> dict[str, Mapping[str, Any]]:
    """JSON of the scenarios that tests run on, by id."""
    found = dict.fromkeys(scenario for item in items if (scenario := _scenario_of(item)))
    return {each.id: each.model_dump(mode="json", by_alias=True) for each in found}


def properties(item: pytest.Item) -> list[tuple[str, object]]:
    """What a report says about a test: the requirement that it verifies, and its topology."""
    found: list[tuple[str, object]] = []
    requirement = item.stash.get(REQUIREMENT, None)
    if requirement is not None:
        found.append(("requirement", requirement.id))
        found.append(("level", requirement.level))
        found.append(("title", requirement.title))
    topology = topology_of(item)
    if topology:
        found.append(("topology", topology))
    return found
