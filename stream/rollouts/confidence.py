"""Bounds for a rate that stay valid however often they are computed.

A test that is repeated until it rejects finds a difference sooner or later where there is none. These bounds come from the
mixture martingale of Robbins (1970) with a beta prior: with probability 1 - error they contain the rate *at all times*.
"""

from __future__ import annotations

from math import ceil, inf, lgamma, log
from typing import Final

_PRIOR: Final = 0.5
_STEPS: Final = 40


def lower_bound(successes: int, total: int, error: float) -> float:
    """Return a bound that exceeds the true rate at any time only with probability `error`; 0 without observations."""
    limit = -log(error)
    if _evidence(successes, total, 0.0) < limit:
        return 0.0
    low, high = 0.0, successes / total
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _evidence(successes, total, middle) >= limit else (low, middle)
    return low


def exceeds(successes: int, total: int, limit: float, error: float) -> bool:
    """Return whether the lower bound exceeds `limit`, without computing it."""
    return successes > limit * total and _evidence(successes, total, limit) >= -log(error)


def upper_bound(successes: int, total: int, error: float) -> float:
    """Return a bound that falls below the true rate at any time only with probability `error`; 1 without observations."""
    return 1.0 - lower_bound(total - successes, total, error)


def events_until_above(rate: float, total: int, limit: float, error: float) -> int | None:
    """Return how many more events at this rate raise the lower bound above `limit`; None if the rate does not exceed it.

    total: number of events so far.
    """
    if rate <= limit:
        return None
    needed = max(total, 1)
    while not exceeds(ceil(rate * needed), needed, limit, error):
        if needed > 1 << 40:
            return None
        needed += needed // 8 + 1
    return needed - total


def _evidence(successes: int, total: int, rate: float) -> float:
    """Return the logarithm of the mixture's likelihood ratio against `rate`."""
    failures = total - successes
    if (rate <= 0 and successes) or (rate >= 1 and failures):
        return inf
    mixture = _log_beta(_PRIOR + successes, _PRIOR + failures) - _log_beta(_PRIOR, _PRIOR)
    return mixture - (successes * log(rate) if successes else 0.0) - (failures * log(1 - rate) if failures else 0.0)


def _log_beta(first: float, second: float) -> float:
    return lgamma(first) + lgamma(second) - lgamma(first + second)
