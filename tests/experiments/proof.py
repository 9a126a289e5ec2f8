"""Measure false alarms and the number of events until a bad version is found, by simulation: `make test-experiments`.

Streams have Zipf keys, and losses with a correlation of 0.5 within a key. They are judged after every commit by the code that
judges canaries, from sums by block of scores and labels.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from math import inf

import numpy as np

from forebay.stream.experiments import arms
from forebay.stream.experiments.blocks import NUM_BLOCKS
from forebay.stream.experiments.experiment import Outcome, Plan
from tests.experiments.streams import Population, Streams
from tests.experiments.watching import FIXED_Z, Look, canary_looks, first_events, shadow_looks

SHARE, WORSE, ALPHA = 0.05, 1.2, 0.05
POPULATION = Population(num_keys=200_000, exponent=1.0, latent=0.58, shape=0.5)
EASY = Population(num_keys=200_000, exponent=1.0, latent=0.58, shape=0.5, easy_heavy_keys=3.0)
PLAN = Plan(ALPHA, min_effect=WORSE - 1)
COMMIT, EVENTS, BAD_EVENTS = 500, 60_000, 120_000
SHADOW_COMMIT, SHADOW_EVENTS = 25, 5_000


def false_alarms(population: Population, *, count: int, seed: int, share: float = SHARE) -> tuple[float, float, float]:
    """Return the shares of streams of equal versions with an alarm: by the sequence, by a repeated z-test, by events."""
    streams, generator = Streams(population, share=share), np.random.default_rng(seed)
    alarms = np.zeros(3)
    for _ in range(count):
        found = np.zeros(3, np.bool_)
        for look in canary_looks(streams.draw(generator, EVENTS), worse=1.0, commit=COMMIT, plan=PLAN):
            found |= [look.result.interval.excludes(0.0), abs(look.fixed_z) > FIXED_Z, look.event_level_excludes]
        alarms += found
    by_key, by_z, by_event = (alarms / count).tolist()
    return by_key, by_z, by_event


def bad_canary(*, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return events of the canary until it is found [count], and events and z of every look [count, looks]."""
    streams, generator = Streams(POPULATION, share=SHARE), np.random.default_rng(seed)
    found, events, scores = [], [], []
    for _ in range(count):
        drawn = streams.draw(generator, BAD_EVENTS)
        looks: list[Look] = list(canary_looks(drawn, worse=WORSE, commit=COMMIT, plan=PLAN))
        found.append(first_events(iter(looks), Outcome.WORSE))
        events.append([look.events for look in looks])
        scores.append([look.fixed_z for look in looks])
    return np.array(found), np.array(events), np.array(scores)


def bad_shadow(*, count: int, seed: int) -> np.ndarray:
    """Return events until a shadow that predicts all of them is found."""
    streams, generator = Streams(POPULATION, share=SHARE), np.random.default_rng(seed)
    return np.array(
        [
            first_events(
                shadow_looks(streams.draw(generator, SHADOW_EVENTS), worse=WORSE, commit=SHADOW_COMMIT, plan=PLAN),
                Outcome.WORSE,
            )
            for _ in range(count)
        ]
    )


def fixed_horizon(events: np.ndarray, scores: np.ndarray, power: float) -> float:
    """Return after how many events of the canary a test at this single time finds it with this probability, on average."""
    reached = (scores > FIXED_Z).mean(axis=0)
    stays = np.minimum.accumulate(reached[::-1])[::-1] >= power
    return float(events[:, np.argmax(stays)].mean()) if stays.any() else inf


def report(streams: int, bad: int) -> Iterator[str]:
    generator = np.random.default_rng(0)
    yield (
        f"{POPULATION.num_keys:,} keys by Zipf's law, correlation of losses within a key "
        f"{POPULATION.correlation(generator):.2f}, {EVENTS:,} labelled events, a look every {COMMIT}, alpha {ALPHA}"
    )
    yield ""
    yield f"{'equal versions: streams with a false alarm':62} {'sequence':>9} {'z-test*':>8} {'by event':>9}"
    for title, population, share, count, num_blocks in (
        ("canary with 5 % of the keys", POPULATION, SHARE, streams, arms.MIN_COARSE_BLOCKS),
        ("50 % of the keys", POPULATION, 0.5, streams // 10, arms.MIN_COARSE_BLOCKS),
        ("5 %, keys with many events are easier", EASY, SHARE, streams // 10, arms.MIN_COARSE_BLOCKS),
        ("the same, with blocks of different size (not used)", EASY, SHARE, streams // 10, NUM_BLOCKS),
    ):
        before, arms.MIN_COARSE_BLOCKS = arms.MIN_COARSE_BLOCKS, num_blocks  # type: ignore[misc]
        by_key, by_z, by_event = false_alarms(population, count=count, seed=1, share=share)
        arms.MIN_COARSE_BLOCKS = before  # type: ignore[misc]
        yield f"{f'{title} ({count:,} streams)':62} {by_key:9.1%} {by_z:8.1%} {by_event:9.1%}"
    yield "* key as unit, but a test for a single look, after every commit"
    yield ""
    found, events, scores = bad_canary(count=bad, seed=2)
    shadow = bad_shadow(count=bad, seed=3)
    yield f"log loss +20 %: labelled events of the bad version until it is found, {bad:,} streams"
    yield f"{'':40} {'median':>8} {'mean':>8} {'found':>7}"
    capped = np.minimum(found, events[:, -1])
    yield f"{'canary with 5 % of the keys':40} {np.median(found):8,.0f} {capped.mean():8,.0f} {np.isfinite(found).mean():7.1%}"
    shadow_mean = np.minimum(shadow, SHADOW_EVENTS).mean()
    yield f"{'shadow of all events, paired':40} {np.median(shadow):8,.0f} {shadow_mean:8,.0f} {np.isfinite(shadow).mean():7.1%}"
    for power in (0.8, 0.9):
        fixed = fixed_horizon(events, scores, power)
        yield (
            f"fixed horizon, key as unit, power {power:.0%}: {fixed:,.0f} events; the sequence needs "
            f"{np.median(found) / fixed:.2f} times as many (median), {capped.mean() / fixed:.2f} (mean)"
        )
    yield (
        f"the shadow needs {np.median(shadow) / np.median(found):.2f} times the events of the canary (median), "
        f"{shadow_mean / capped.mean():.2f} (mean)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000, help="streams of equal versions")
    parser.add_argument("--bad", type=int, default=400, help="streams with a bad version")
    options = parser.parse_args()
    start = time.monotonic()
    for line in report(options.streams, options.bad):
        print(line, flush=True)
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
