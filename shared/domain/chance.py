"""Chance: what a number of test pictures can and cannot show (rules, no I/O)."""

from __future__ import annotations

import math
from statistics import NormalDist

CONFIDENCE = 0.95
"""The share of intervals that contain the true value."""
SIGNIFICANCE = 0.05
"""The probability of chance above which a difference is not believed."""
FEWEST = 8
"""Pictures below which no difference is believed."""
_EXACT = 1000
"""Changed answers up to which the sign test is exact."""


def accuracy_interval(right: int, count: int) -> tuple[float, float]:
    """Return the bounds of an accuracy measured as `right` of `count` pictures; (0, 1) without pictures.

    Wilson's score interval (Wilson 1927). The usual normal approximation was rejected: it says 100 % ± 0 of three
    pictures that are all right.
    """
    if not count:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = right / count
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
