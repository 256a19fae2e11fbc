"""Exact statistics of shares: which counts are so unlikely that the shares cannot be as expected.

Every number is an integer or a fraction: no rounding, no approximation, whatever the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

FALSE_ALARM: Final = 1e-6
"""How often a verdict on shares may be wrong on a mesh whose shares are right."""

Share = Fraction | float


@dataclass(frozen=True)
class Band:
    """Counts from `low` to `high`, both included, out of `trials`."""

    trials: int
    low: int
    high: int

    def __contains__(self, count: int) -> bool:
        return self.low <= count <= self.high

    @property
    def is_vacuous(self) -> bool:
        """Whether no count at all lies outside, so that nothing can be judged by it."""
        return self.low == 0 and self.high == self.trials

    def __str__(self) -> str:
        return f"{self.low} to {self.high} of {self.trials}"


def binomial_band(trials: int, share: Share, false_alarm: Share = FALSE_ALARM) -> Band:
    """The counts that independent trials with this share give, but for rare exceptions.

    Each tail outside has at most half of the false alarm's probability, and the band is as narrow
    as that allows. A share of 0 or 1 leaves one count. A float counts as exactly what it is.

    Raises:
        ValueError: negative trials, or a share or false alarm that is no probability.
    """
    probability, tail = Fraction(share), Fraction(false_alarm) / 2
    if trials < 0:
        raise ValueError(f"trials: {trials} is negative")
    if not 0 <= probability <= 1:
        raise ValueError(f"share: {share} is not between 0 and 1")
    if not 0 < tail <= Fraction(1, 2):
        raise ValueError(f"false alarm: {false_alarm} is not above 0 and at most 1")
    high = trials - _first_likely(trials, 1 - probability, tail)
    return Band(trials, _first_likely(trials, probability, tail), high)


def trials_to_see_all(shares: Iterable[Share]) -> int:
    """Independent trials after which each answer has come at least once, with a probability of all
    but `FALSE_ALARM`.

    Args:
        shares: of the answers; none is 0.

    Raises:
        ValueError: a share is not above 0 and at most 1, or there is none.
    """
    others = [1 - Fraction(each) for each in shares]
    if not others or not all(0 <= each < 1 for each in others):
        raise ValueError("shares: one is not above 0 and at most 1, or there is none")
    trials = 1
    while sum(each**trials for each in others) > Fraction(FALSE_ALARM):
        trials += 1
    return trials


def rounds_to_see_all(answers: int, requests: int, least: int) -> int:
    """How often so many requests are sent until each of equally likely answers has come, with a
    probability of all but `FALSE_ALARM`.

    Args:
        answers: how many there are; without any, rounds are the least.
        requests: of a round.
        least: rounds that there are in any case, as proxies do not choose at random for each one.
    """
    if not answers:
        return least
    trials = trials_to_see_all([Fraction(1, answers)] * answers)
    return max(least, -(-trials // requests))


def _first_likely(trials: int, share: Fraction, tail: Fraction) -> int:
    """The smallest count such that it or less has more than the tail's probability."""
    hit, miss = share.numerator, share.denominator - share.numerator
    if miss == 0:
        return trials
    # Probabilities times denominator ** trials, and so the tail's bound: all integers.
    bound = tail.numerator * share.denominator**trials
    term = miss**trials
    total = term
    count = 0
    while total * tail.denominator <= bound:
        term = term * (trials - count) * hit // ((count + 1) * miss)
        count += 1
        total += term
    return count


@dataclass(frozen=True)
class ShareVerdict:
    """How often one answer came, and how often it may have come.

    Attributes:
        name: what answered.
        share: expected; 0 for an answer that nobody expected.
    """

    name: str
    count: int
    share: Fraction
    band: Band

    @property
    def holds(self) -> bool:
        return self.count in self.band

    @property
    def observed(self) -> float:
        """Observed share; 0.0 without any trial."""
        return self.count / self.band.trials if self.band.trials else 0.0

    def __str__(self) -> str:
        return f"{self.name} {self.count} (wanted {self.band})"


@dataclass(frozen=True)
class SharesVerdict:
    """A verdict on all shares together.

    Attributes:
        false_alarm: probability at most of a wrong `holds` where the shares are as expected.
    """

    trials: int
    false_alarm: float
    shares: tuple[ShareVerdict, ...]

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.shares)

    @property
    def is_vacuous(self) -> bool:
        """Whether there were too few trials to find any uncertain share wrong."""
        uncertain = [verdict.band for verdict in self.shares if 0 < verdict.share < 1]
        return bool(uncertain) and all(band.is_vacuous for band in uncertain)

    def __str__(self) -> str:
        return ", ".join(str(verdict) for verdict in self.shares)


def judge_shares(counts: Mapping[str, int], shares: Mapping[str, Share]) -> SharesVerdict:
    """Judge counts by expected shares, each by a separate band.

    `FALSE_ALARM` is divided among the uncertain shares, so that it holds for the verdict as a
    whole (Bonferroni). An answer without an expected share is allowed no time at all.

    Args:
        counts: how often each answer came; one that is missing never came.
        shares: expected; they add up to 1.

    Raises:
        ValueError: a count is negative, or shares do not add up to 1.
    """
    if any(count < 0 for count in counts.values()):
        raise ValueError(f"counts: {dict(counts)} has a negative one")
    exact = {name: Fraction(share) for name, share in shares.items()}
    if abs(sum(exact.values(), Fraction(0)) - 1) > Fraction(1, 10**9):
        raise ValueError(f"shares: {dict(shares)} do not add up to 1")
    trials = sum(counts.values())
    uncertain = sum(share not in (0, 1) for share in exact.values())
    part = Fraction(FALSE_ALARM) / max(uncertain, 1)
    names = [*exact, *(name for name in counts if name not in exact)]
    verdicts = []
    for name in names:
        share = exact.get(name, Fraction(0))
        band = binomial_band(trials, share, part)
        verdicts.append(ShareVerdict(name, counts.get(name, 0), share, band))
    return SharesVerdict(trials, FALSE_ALARM, tuple(verdicts))
