"""Several metrics at once, with a stated probability of any false alarm.

The inputs are e-values: evidence against "there is no difference" whose expected value is at most 1 at any time. So the results
hold however often one looks, and however the metrics depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping


def alpha_of_each(alpha: float, count: int) -> float:
    """Return the error of each of `count` intervals so that all hold together with probability 1 - alpha (Bonferroni)."""
    return alpha / max(1, count)


def family_wise(e_values: Mapping[str, float], alpha: float) -> set[str]:
    """Return the metrics with a difference: with probability 1 - alpha, all of them have one (Holm's procedure).

    The strongest evidence must reach 1 / alpha for all metrics together, the next one for those that remain.
    """
    found: set[str] = set()
    remaining = sorted(e_values.items(), key=lambda item: -item[1])
    for number, (name, value) in enumerate(remaining):
        if value < (len(remaining) - number) / alpha:
            break
        found.add(name)
    return found


def false_discovery(e_values: Mapping[str, float], alpha: float) -> set[str]:
    """Return the metrics with a difference: on average at most the share alpha of them has none (e-BH).

    Wang and Ramdas, "False discovery rate control with e-values" (JRSS B, 2022). For many guard-rails, where one false alarm
    among several true ones does no harm.
    """
    ranked = sorted(e_values.items(), key=lambda item: -item[1])
    count = 0
    for number, (_, value) in enumerate(ranked, 1):
        if number * value >= len(ranked) / alpha:
            count = number
    return {name for name, _ in ranked[:count]}
