"""Chance: what a number of test pictures can and cannot show (rules, no I/O)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

CONFIDENCE = 0.95
"""The share of intervals that contain the true value."""
SIGNIFICANCE = 0.05
"""The probability of chance above which a difference is not believed."""
FEWEST = 8
"""Pictures below which no difference is believed."""
EXPECTED = 5.0
"""Pictures that a bin must lead to expect on both sides, or the chi-square test is not good (Cochran 1954)."""
_EXACT = 1000
"""Changed answers up to which the sign test is exact."""


def accuracy_interval(right: int, count: int) -> tuple[float, float]:
    """Return the bounds of an accuracy measured as `right` of `count` pictures; (0, 1) without pictures.

    Wilson's score interval (Wilson 1927). The usual normal approximation was rejected: it says 100 % ± 0 of three
    pictures that are all right.
    """
    return share_interval(right / count, count) if count else (0.0, 1.0)


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Return the bounds of a share, 0 to 1, that was measured on `count` pictures, as `accuracy_interval` does."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def sign_test(better: int, worse: int) -> float:
    """Return the probability that chance alone makes at least `better` of `better + worse` changed answers right.

    The exact one-sided sign test, which for two classifiers on the same pictures is McNemar's test: pictures that both
    answer rightly, or both wrongly, say nothing. The result is 1.0 if no answer has changed.
    """
    changed = better + worse
    if changed > _EXACT:
        # With the continuity correction; the sum would take long.
        z = (better - 0.5 - changed / 2) / math.sqrt(changed / 4)
        return 1 - NormalDist().cdf(z)
    ways = sum(math.comb(changed, number) for number in range(better, changed + 1))
    return min(1.0, ways / float(2**changed))


def fewest_changes() -> int:
    """Return the smallest number of answers that must change, all for the better, to be more than chance."""
    return next(count for count in range(1, 100) if sign_test(count, 0) < SIGNIFICANCE)


def is_above_zero(mean: float, deviation: float, count: int) -> bool:
    """Return True if differences with this mean and standard deviation are above zero by more than chance.

    The one-sided paired t test; its quantile is approximated to three digits from that of the normal distribution
    (Abramowitz and Stegun 26.7.5). Fewer than FEWEST differences show nothing.
    """
    if count < FEWEST or not deviation > 0:
        return False
    z = NormalDist().inv_cdf(1 - SIGNIFICANCE)
    free = count - 1
    quantile = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return mean / (deviation / math.sqrt(count)) > quantile


def same_distribution(left: Sequence[int], right: Sequence[int]) -> float:
    """Return the probability that chance alone makes two lists of counts, bin by bin, differ as much as these do.

    The chi-square test of homogeneity (Pearson 1900), which is good where both lists lead to expect five in each bin;
    for two bins that expect fewer, Fisher's exact test (Fisher 1934). The result is 1.0 for a single bin.
    """
    n, m = sum(left), sum(right)
    if len(left) == 2 and min(a + b for a, b in zip(left, right, strict=True)) * min(n, m) / (n + m) < EXPECTED:
        return _exact(left, right)
    statistic = 0.0
    for a, b in zip(left, right, strict=True):
        for count, size in ((a, n), (b, m)):
            expected = (a + b) * size / (n + m)
            statistic += (count - expected) ** 2 / expected
    return _above(statistic, len(left) - 1)


def _exact(left: Sequence[int], right: Sequence[int]) -> float:
    """Return the two-sided probability of Fisher's test for two lists of two counts."""
    if sum(left) > sum(right):
        left, right = right, left
    n, m, first = sum(left), sum(right), left[0] + right[0]

    def log_ways(size: int, chosen: int) -> float:
        return math.lgamma(size + 1) - math.lgamma(chosen + 1) - math.lgamma(size - chosen + 1)

    def log_chance(number: int) -> float:
        return log_ways(n, number) + log_ways(m, first - number) - log_ways(n + m, first)

    seen = log_chance(left[0])
    possible = range(max(0, first - m), min(n, first) + 1)  # as many as the smaller side has, at most
    # Equally likely counts are as far from the expected one; their logarithms differ in the last digits.
    return min(1.0, math.fsum(math.exp(each) for each in map(log_chance, possible) if each <= seen + 1e-7))


def _above(statistic: float, freedom: int) -> float:
    """Return the probability that a chi-square variable is larger; by its closed form (Abramowitz and Stegun 26.4.4
    and 26.4.5)."""
    if freedom < 1 or statistic <= 0:
        return 1.0
    half = statistic / 2
    total = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    start = 0.5 if freedom % 2 else 1.0
    for step in range((freedom - 1) // 2):
        power = start + step
        total += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(1.0, total)
