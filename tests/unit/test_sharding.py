"""Splitting topologies among shards: every one in exactly one, and no shard much longer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import SCENARIOS, SHIPPED
from report_examples import report

from mesh_fixtures.report import ReportError, write
from mesh_fixtures.report.model import StepReport
from mesh_fixtures.session.sharding import SECONDS, Shard, estimate, measured, split

NAMES = st.text("abcdefgh-", min_size=1, max_size=6)
TIMES = st.integers(0, 1000).map(float)


@given(st.dictionaries(NAMES, TIMES, max_size=12), st.integers(1, 15))
def test_every_topology_is_in_exactly_one_shard(seconds: Mapping[str, float], count: int) -> None:
    shards = split(seconds, count)
    assert len(shards) <= count
    assert sorted(each for shard in shards for each in shard) == sorted(seconds)
    seen = [Shard(index, count).of(shards) for index in range(1, count + 1)]
    assert frozenset().union(*seen) == seconds.keys()
    assert sum(map(len, seen)) == len(seconds)


@given(st.dictionaries(NAMES, TIMES, max_size=12), st.integers(1, 15))
def test_no_shard_is_empty_as_long_as_there_are_topologies(
    seconds: Mapping[str, float], count: int
) -> None:
    assert all(split(seconds, count))
    assert len(split(seconds, count)) == min(count, len(seconds))


@given(st.dictionaries(NAMES, TIMES, min_size=1, max_size=12), st.integers(1, 6), st.randoms())
def test_the_order_in_which_topologies_are_told_does_not_matter(
    seconds: Mapping[str, float], count: int, random: Random
) -> None:
    names = sorted(seconds)
    random.shuffle(names)
    assert split({name: seconds[name] for name in names}, count) == split(seconds, count)


@given(st.dictionaries(NAMES, TIMES, min_size=1, max_size=7), st.integers(1, 3))
def test_the_longest_shard_is_within_a_third_of_the_best_split(
    seconds: Mapping[str, float], count: int
) -> None:
    longest = max(sum(seconds[each] for each in shard) for shard in split(seconds, count))
    times = list(seconds.values())
    best = min(
        max(sum(t for t, into in zip(times, where, strict=True) if into == each) for each in where)
        for where in product(range(count), repeat=len(times))
    )
    assert longest <= best * (4 / 3 - 1 / (3 * count)) + 1e-9


def test_the_longest_goes_first_and_then_where_least_is() -> None:
    even = split({"a": 10, "b": 9, "c": 6, "d": 5}, 2)
    assert even == (frozenset("ad"), frozenset("bc"))
    one_is_long = split({"a": 30, "b": 10, "c": 10, "d": 10}, 2)
    assert one_is_long == (frozenset("a"), frozenset("bcd"))


@pytest.mark.parametrize("text", ["", "1", "1/", "/2", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not of the form I/N|there is no number"):
        Shard.read(text)


def test_a_shard_is_read_as_it_is_written() -> None:
    assert Shard.read("2/3") == Shard(2, 3)
    assert str(Shard(2, 3)) == "2/3"


def test_all_topologies_of_the_project_have_been_measured() -> None:
    assert SECONDS.keys() == SHIPPED.keys()


def test_measured_times_count_before_those_of_the_project_and_size_before_nothing() -> None:
    scenario = SCENARIOS["multi-primary"]
    assert estimate(scenario, {"multi-primary": 7.0}) == 7.0
    assert estimate(scenario, {}) == SECONDS["multi-primary"]
    unknown = scenario.model_copy(update={"id": "mine"})
    larger = SCENARIOS["three-clusters-two-networks"].model_copy(update={"id": "larger"})
    assert 0 < estimate(unknown, {}) < estimate(larger, {})


def test_times_are_the_median_of_runs_that_came_to_their_end(tmp_path: Path) -> None:
    for number, seconds in enumerate((10.0, 30.0, 12.0)):
        write(report(steps=_steps(seconds)), tmp_path / f"{number}" / "a-report.yaml")
    write(
        report(steps=_steps(900.0), interrupted="it was stopped"), tmp_path / "stopped-report.yaml"
    )
    assert measured([tmp_path]) == {report().topology.id: 12.0}
    assert measured([]) == {}
    with pytest.raises(ReportError, match="nowhere"):
        measured([tmp_path / "nowhere"])


def _steps(seconds: float) -> tuple[StepReport, ...]:
    return (
        StepReport(phase="boot", began=0.0, seconds=1.0),
        StepReport(phase="teardown", began=seconds - 1.0, seconds=1.0),
    )
