from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from mesh_fixtures.verdict.statistics import (
    FALSE_ALARM,
    Band,
    binomial_band,
    judge_shares,
    rounds_to_see_all,
    trials_to_see_all,
)

trials = st.integers(0, 300)
shares = st.fractions(min_value=0, max_value=1, max_denominator=100)
alarms = st.sampled_from([Fraction(1, 10**6), Fraction(1, 1000), Fraction(1, 20), Fraction(1, 3)])


def tail(count: int, share: Fraction, counts: range) -> Fraction:
    return sum(
        (comb(count, k) * share**k * (1 - share) ** (count - k) for k in counts), Fraction(0)
    )


@given(trials, shares, alarms)
def test_each_tail_outside_is_at_most_half_the_false_alarm(
    count: int, share: Fraction, alarm: Fraction
) -> None:
    band = binomial_band(count, share, alarm)
    assert tail(count, share, range(band.low)) <= alarm / 2
    assert tail(count, share, range(band.high + 1, count + 1)) <= alarm / 2


@given(trials, shares, alarms)
def test_the_band_cannot_be_narrower(count: int, share: Fraction, alarm: Fraction) -> None:
    band = binomial_band(count, share, alarm)
    assert tail(count, share, range(band.low + 1)) > alarm / 2
    assert tail(count, share, range(band.high, count + 1)) > alarm / 2


@settings(max_examples=50)
@given(st.integers(1, 2000), st.floats(0.01, 0.99), st.sampled_from([1e-6, 1e-4, 1e-2]))
def test_agrees_with_scipy(count: int, share: float, alarm: float) -> None:
    band = binomial_band(count, share, alarm)
    low, high = binom.ppf(alarm / 2, count, share), binom.isf(alarm / 2, count, share)
    # Where a tail is as likely as its bound, scipy may round to the other side.
    assert abs(band.low - low) <= 1
    assert abs(band.high - high) <= 1
    assert binom.cdf(band.low - 1, count, share) <= alarm / 2 * (1 + 1e-9)
    assert binom.sf(band.high, count, share) <= alarm / 2 * (1 + 1e-9)


@given(trials, shares)
def test_is_symmetric(count: int, share: Fraction) -> None:
    band, mirrored = binomial_band(count, share), binomial_band(count, 1 - share)
    assert (mirrored.low, mirrored.high) == (count - band.high, count - band.low)


@given(trials)
def test_certain_shares_leave_one_count(count: int) -> None:
    assert binomial_band(count, 0) == Band(count, 0, 0)
    assert binomial_band(count, 1) == Band(count, count, count)


def test_an_even_split_of_two_hundred() -> None:
    band = binomial_band(200, Fraction(1, 2))
    assert str(band) == "66 to 134 of 200"
    assert 97 in band
    assert 2 not in band
    assert 198 not in band


@pytest.mark.parametrize(
    ("count", "share", "alarm"),
    [(-1, 0.5, 0.1), (10, -0.1, 0.1), (10, 1.1, 0.1), (10, 0.5, 0.0), (10, 0.5, 1.5)],
)
def test_refuses_what_is_no_probability(count: int, share: float, alarm: float) -> None:
    with pytest.raises(ValueError, match="is n"):
        binomial_band(count, share, alarm)


def test_ninety_nine_to_one_fails() -> None:
    verdict = judge_shares({"v1": 198, "v2": 2}, {"v1": Fraction(1, 2), "v2": Fraction(1, 2)})
    assert not verdict.holds
    assert "v1 198 (wanted" in str(verdict)


def test_one_error_in_two_hundred_fails() -> None:
    halves = {"v1": Fraction(1, 2), "v2": Fraction(1, 2)}
    assert judge_shares({"v1": 99, "v2": 101}, halves).holds
    verdict = judge_shares({"v1": 99, "v2": 100, "error": 1}, halves)
    assert not verdict.holds
    assert [each.name for each in verdict.shares if not each.holds] == ["error"]


def test_a_version_that_never_answers_fails() -> None:
    thirds = {name: Fraction(1, 3) for name in ("v1", "v2", "v3")}
    assert not judge_shares({"v1": 100, "v2": 100}, thirds).holds


def test_the_false_alarm_is_divided_among_uncertain_shares() -> None:
    quarters = {name: Fraction(1, 4) for name in ("v1", "v2", "v3", "v4")}
    verdict = judge_shares(dict.fromkeys(quarters, 50), {**quarters, "v5": 0})
    assert verdict.shares[0].band == binomial_band(200, Fraction(1, 4), Fraction(FALSE_ALARM) / 4)
    assert verdict.shares[4].band == Band(200, 0, 0)
    assert verdict.holds


def test_one_version_alone_must_give_every_answer() -> None:
    assert judge_shares({"v1": 200}, {"v1": 1}).holds
    assert not judge_shares({"v1": 199, "v2": 1}, {"v1": 1}).holds


def test_tells_when_there_are_too_few_requests_to_judge() -> None:
    halves = {"v1": 0.5, "v2": 0.5}
    few = judge_shares({"v1": 20}, halves)
    assert few.holds
    assert few.is_vacuous
    assert not judge_shares({"v1": 25, "v2": 25}, halves).is_vacuous
    assert not judge_shares({"v1": 3}, {"v1": 1}).is_vacuous


def test_observed_shares() -> None:
    verdict = judge_shares({"v1": 3, "v2": 1}, {"v1": 0.5, "v2": 0.5})
    assert [each.observed for each in verdict.shares] == [0.75, 0.25]
    assert judge_shares({}, {"v1": 1}).shares[0].observed == 0.0


def test_refuses_shares_that_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="add up"):
        judge_shares({"v1": 1}, {"v1": 0.5})
    with pytest.raises(ValueError, match="negative"):
        judge_shares({"v1": -1}, {"v1": 1})


@given(st.lists(st.fractions(Fraction(1, 20), 1), min_size=1, max_size=4))
def test_after_so_many_trials_and_not_before_each_answer_has_come(shares: list[Fraction]) -> None:
    trials = trials_to_see_all(shares)
    missed = [sum((1 - each) ** n for each in shares) for n in (trials - 1, trials)]
    assert missed[1] <= FALSE_ALARM
    assert trials == 1 or missed[0] > FALSE_ALARM


def test_two_even_shares_need_twenty_one_trials() -> None:
    assert trials_to_see_all([Fraction(1, 2)] * 2) == 21
    assert trials_to_see_all([1]) == 1


@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 10))
def test_rounds_are_as_many_as_all_answers_need_and_not_one_more(
    answers: int, requests: int, least: int
) -> None:
    rounds = rounds_to_see_all(answers, requests, least)
    needed = trials_to_see_all([Fraction(1, answers)] * answers)
    assert rounds >= least
    assert rounds * requests >= needed
    assert rounds == least or (rounds - 1) * requests < needed


def test_sixteen_clusters_need_more_requests_than_two() -> None:
    assert rounds_to_see_all(2, 12, 8) == 8
    assert rounds_to_see_all(16, 12, 8) == 22
    assert rounds_to_see_all(0, 12, 8) == 8


@pytest.mark.parametrize("shares", [[], [0], [Fraction(1, 2), 0], [2]])
def test_an_answer_that_never_comes_is_not_waited_for(shares: list[Fraction]) -> None:
    with pytest.raises(ValueError, match="shares"):
        trials_to_see_all(shares)
