"""Whatever the order of reading, the commits and the restarts are, a join counts what its definition says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.columns import LabelValue, ShadowRef
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import LabelCounts
from tests.evaluate.driver import Driver
from tests.evaluate.reference import (
    BINARY,
    CLASSES,
    NUM_SCORES,
    OTHER,
    TASKS,
    VALUE,
    Label,
    Prediction,
    Reference,
    Shadow,
    paired_sums,
)

RULES = JoinRules(horizon_ms=20, early_ms=8, window_ms=16, slices=("s",))
PATIENT_LABELS = JoinRules(horizon_ms=5, early_ms=60, window_ms=16)
DISTINCT = JoinRules(horizon_ms=20, early_ms=8, window_ms=1)
EARLY = JoinRules(horizon_ms=20, early_ms=1000, window_ms=16)
UNLIMITED = 1 << 20
SHADOW_STEPS = [
    ("read_shadows", 1),
    ("read_shadows", 4),
    ("read_labels", 1),
    ("read_labels", 4),
    ("commit",),
    ("restart",),
]

HASHES = st.integers(0, 3).map(lambda number: number * 3_000_000_000_000_000_000)
VALUES: st.SearchStrategy[LabelValue] = st.sampled_from(
    [0, 1, 2, True, False, "yes", "no", "wrong", "nan", "?", 2.5, -1]
)
SETS = st.lists(st.sampled_from(["s=1", "s=2"]), max_size=1).map(tuple)
LABEL_SETS = st.lists(st.sampled_from(["l=1", "l=2"]), max_size=1).map(tuple)


@st.composite
def histories(draw: st.DrawFn, *, distinct_times: bool = False) -> tuple[list[Prediction], list[Label]]:
    """Return predictions and labels whose times advance, with some out of order, and whose offsets have gaps."""
    step = st.integers(-6, 9)
    predictions: list[Prediction] = []
    labels: list[Label] = []
    time, offset = 100, 0
    times = set()
    for _ in range(draw(st.integers(6, 24))):
        time, offset = time + draw(step), offset + draw(st.integers(1, 3))
        while distinct_times and time in times:
            time += 1
        times.add(time)
        ref = draw(st.sampled_from([BINARY, BINARY, BINARY, OTHER, VALUE, CLASSES]))
        score = draw(st.sampled_from([0.0, 0.25, 0.4, 1.0]))
        scores = (score, 1 - score, 0.0) if NUM_SCORES[TASKS[ref]] == 3 else (score,)
        predictions.append(
            Prediction(
                offset, draw(HASHES), time, ref=ref, scores=scores, block=draw(st.integers(0, 9)), slices=draw(SETS)
            )
        )
    time, offset = 100 + draw(st.integers(-15, 15)), 0
    for _ in range(draw(st.integers(6, 24))):
        time, offset = time + draw(step), offset + draw(st.integers(1, 3))
        model = draw(st.sampled_from([None, None, None, "a", "c", "unknown"]))
        labels.append(Label(offset, draw(HASHES), time, value=draw(VALUES), model=model, slices=draw(LABEL_SETS)))
    return predictions, labels


TOPICS = st.integers(1, 3).flatmap(lambda count: st.lists(st.integers(0, count - 1), min_size=24, max_size=24))


def on_topics(predictions: Sequence[Prediction], topics: Sequence[int]) -> list[Prediction]:
    return [replace(prediction, topic=topic) for prediction, topic in zip(predictions, topics, strict=False)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read_predictions"), st.integers(1, 6), st.integers(0, 2)),
        st.tuples(st.just("read_labels"), st.integers(1, 6)),
        st.sampled_from([("commit",), ("commit",), ("restart",)]),
    ),
    min_size=8,
    max_size=30,
)


def run(driver: Driver, steps: Sequence[tuple[Any, ...]], check: Callable[[], None]) -> None:
    for name, *arguments in steps:
        if getattr(driver, name)(*arguments):
            check()
    driver.finish()
    check()


def counted(sums: dict[QualityKey, QualitySums]) -> dict[QualityKey, dict[str, Any]]:
    return {key: value.to_dict() for key, value in sums.items() if not value.is_empty}


def counted_labels(counts: dict[QualityKey, LabelCounts]) -> dict[QualityKey, LabelCounts]:
    return {key: value for key, value in counts.items() if not value.is_empty}


@settings(max_examples=40, deadline=None)
@given(histories(), STEPS, st.sampled_from([RULES, RULES, PATIENT_LABELS]))
def test_commits_add_up_to_the_definition(
    history: tuple[list[Prediction], list[Label]], steps: list[tuple[Any, ...]], rules: JoinRules
) -> None:
    check_steps(history, steps, rules)


ROUTED_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read_predictions"), st.integers(1, 6), st.integers(0, 2)),
        st.tuples(st.just("read_labels"), st.integers(1, 6)),
        st.sampled_from([("commit",), ("commit",), ("restart",), ("drop_labels",)]),
    ),
    min_size=8,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    histories(),
    TOPICS,
    ROUTED_STEPS,
    st.sampled_from([RULES, RULES, PATIENT_LABELS]),
)
def test_predictions_on_several_topics_are_counted_alike(
    history: tuple[list[Prediction], list[Label]],
    topics: list[int],
    steps: list[tuple[Any, ...]],
    rules: JoinRules,
) -> None:
    check_steps((on_topics(history[0], topics), history[1]), steps, rules)


def check_steps(
    history: tuple[Sequence[Prediction], Sequence[Label]], steps: list[tuple[Any, ...]], rules: JoinRules
) -> Reference:
    """Run the steps and compare every commit with the definition; return what is counted at the end."""
    num_topics = 1 + max((prediction.topic for prediction in history[0]), default=0)
    driver = Driver(*history, rules, max_waiting=UNLIMITED, num_topics=num_topics)

    def check() -> None:
        expected = Reference(*driver.read_committed(), rules)
        assert counted(driver.sums) == counted(expected.sums)
        assert counted_labels(driver.label_counts) == counted_labels(expected.labels)

    run(driver, steps, check)
    assert driver.read_committed() == tuple(map(list, history))
    return Reference(*driver.read_committed(), rules)


def predicted(offset: int, hash_value: int, time: int, *, topic: int = 0) -> Prediction:
    return Prediction(offset, hash_value, time, ref=BINARY, scores=(0.75,), block=0, topic=topic)


READ = [("read_predictions", 1), ("read_labels", 1)]


def test_a_correction_after_a_restart_replaces_a_label_that_no_longer_waits() -> None:
    predictions = [predicted(0, 1, 100), predicted(1, 2, 118)]
    labels = [Label(0, 1, 100, "yes"), Label(1, 1, 101, "no")]
    steps = [*READ, ("read_predictions", 1), ("commit",), ("restart",)]
    expected = check_steps((predictions, labels), steps, RULES)
    assert [settled.all_values for settled in expected.settled] == [(1.0, 0.0), ()]


def test_a_label_that_was_used_by_a_prediction_of_the_past_is_not_counted_as_used_again() -> None:
    predictions = [predicted(0, 1, 100), predicted(1, 1, 101)]
    labels = [Label(0, 1, 100, "yes"), Label(1, 9, 120, "no")]
    steps = [*READ, ("read_labels", 1), ("commit",), ("restart",)]
    expected = check_steps((predictions, labels), steps, PATIENT_LABELS)
    assert [settled.all_values for settled in expected.settled] == [(1.0,), (1.0,)]
    assert sum(counts.used for counts in expected.labels.values()) == 1


def num_used(expected: Reference) -> int:
    return sum(counts.used for counts in expected.labels.values())


@pytest.mark.parametrize("later", [("labels", "new", "old"), ("new", "old", "labels"), ("old", "new", "labels")])
@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 0)])
def test_a_label_that_is_used_on_another_topic_after_a_restart_is_counted_as_used_once(
    later: Sequence[str], old: int, new: int
) -> None:
    predictions = [predicted(0, 1, 100, topic=old), predicted(0, 1, 101, topic=new)]
    reads: dict[str, tuple[Any, ...]] = {
        "old": ("read_predictions", 1, old),
        "new": ("read_predictions", 1, new),
        "labels": ("read_labels", 1),
    }
    steps = [reads["old"], reads["labels"], ("commit",), ("restart",), *map(reads.__getitem__, later)]
    expected = check_steps((predictions, [Label(0, 1, 100, "yes")]), steps, RULES)
    assert [settled.value for settled in expected.settled] == [1.0, 1.0] and num_used(expected) == 1


@pytest.mark.parametrize("old", [0, 1])
def test_a_label_that_a_prediction_of_the_past_used_on_another_topic_is_not_counted_as_used_again(old: int) -> None:
    predictions = [predicted(0, 1, 100, topic=old), predicted(0, 1, 101, topic=1 - old)]
    labels = [Label(0, 1, 100, "yes"), Label(1, 9, 120, "no")]
    steps = [("read_predictions", 1, old), ("read_labels", 1), ("read_labels", 1), ("commit",), ("restart",)]
    assert num_used(check_steps((predictions, labels), steps, PATIENT_LABELS)) == 1


def test_a_label_waits_for_predictions_that_are_held_back_after_a_restart() -> None:
    predictions = [predicted(0, 5, 130), predicted(0, 1, 100, topic=1), predicted(1, 6, 150, topic=1)]
    before = [("read_predictions", 1, 0), ("read_labels", 1), ("commit",), ("restart",)]
    steps = [*before, ("read_labels", 1), ("read_predictions", 2, 1), ("read_predictions", 1, 0)]
    expected = check_steps((predictions, [Label(0, 1, 100, "yes")]), steps, RULES)
    assert num_used(expected) == 1


def test_rows_that_are_read_again_in_another_order_are_not_counted_again() -> None:
    predictions = [predicted(offset, offset % 3, 100 + offset) for offset in range(12)]
    labels = [Label(offset, offset % 3, 100 + offset, "yes" if offset % 2 else "no") for offset in range(12)]
    committed = [("read_predictions", 6), ("read_labels", 6), ("commit",), ("restart",)]
    for later in (
        [("read_labels", 12), ("read_predictions", 3), ("commit",), ("read_predictions", 9)],
        [("read_predictions", 12), ("read_labels", 3), ("commit",), ("read_labels", 9)],
        [("read_labels", 3), ("read_predictions", 12), ("read_labels", 9)],
        [("read_predictions", 2), ("restart",), ("read_labels", 12), ("restart",)],
    ):
        check_steps((predictions, labels), [*committed, *later, ("commit",), ("restart",)], RULES)


@settings(max_examples=40, deadline=None)
@given(histories(distinct_times=True), TOPICS, STEPS, st.integers(1, 12))
def test_each_prediction_is_matched_or_evicted_or_unmatched(
    history: tuple[list[Prediction], list[Label]], topics: list[int], steps: list[Any], max_waiting: int
) -> None:
    # Each window has one prediction at most, so that the sums of a key show what happened to it.
    driver = Driver(on_topics(history[0], topics), history[1], DISTINCT, max_waiting=max_waiting, num_topics=3)

    def check() -> None:
        expected = Reference(*driver.read_committed(), DISTINCT)
        for settled in expected.settled:
            prediction = settled.prediction
            sums = driver.sums[QualityKey(*prediction.ref, prediction.time)]
            assert sums.predictions == 1
            assert (sums.matched, sums.evicted) in ((0, 0), (1, 0), (0, 1))
            if sums.matched:
                assert settled.value is not None
            elif not sums.evicted and not driver.labels_evicted:
                assert settled.value is None
        totals = [
            sum(getattr(s, name) for k, s in driver.sums.items() if not k.slice) for name in ("matched", "evicted")
        ]
        assert sum(totals) <= len(expected.settled)
        num_labels = sum(counts.labels for counts in driver.label_counts.values())
        assert num_labels == len(driver.read_committed()[1])
        assert driver.join.num_waiting_predictions <= max_waiting

    run(driver, steps, check)


@st.composite
def shadow_histories(draw: st.DrawFn) -> tuple[list[Shadow], list[Label]]:
    """Return shadow pairs, some of them repeated, and labels."""
    step = st.integers(-6, 9)
    shadows: list[Shadow] = []
    time, offset = 100, 0
    for _ in range(draw(st.integers(6, 24))):
        offset += draw(st.integers(1, 3))
        if shadows and draw(st.integers(0, 3)) == 0:
            shadows.append(replace(draw(st.sampled_from(shadows)), offset=offset))
            continue
        time += draw(step)
        served, shadow = draw(st.sampled_from([0.25, 0.75])), draw(st.sampled_from([0.125, 1.0]))
        ref = ShadowRef("a", draw(st.integers(1, 2)), 3)
        shadows.append(
            Shadow(offset, draw(HASHES), time, ref=ref, served=served, shadow=shadow, block=draw(st.integers(0, 9)))
        )
    return shadows, draw(histories())[1]


@settings(max_examples=40, deadline=None)
@given(shadow_histories(), st.lists(st.sampled_from(SHADOW_STEPS), min_size=8, max_size=30))
def test_shadows_are_compared_once(history: tuple[list[Shadow], list[Label]], steps: list[tuple[Any, ...]]) -> None:
    shadows, labels = history
    driver = Driver([], labels, EARLY, max_waiting=UNLIMITED, shadows=shadows)

    def check() -> None:
        expected = paired_sums(driver.committed_shadows(), driver.read_committed()[1], EARLY)
        found = {tuple(key[:2]): sums for key, sums in driver.paired.items() if not sums.is_empty}
        assert found == expected

    run(driver, steps, check)


def test_evicted_predictions_between_waiting_ones_of_another_layout_stay_evicted_after_a_restart() -> None:
    number = Prediction(1, 2, 101, ref=VALUE, scores=(0.5,), block=0)
    driver = Driver(
        [predicted(0, 1, 100), number, predicted(2, 3, 102)], [Label(0, 3, 102, 1)], DISTINCT, max_waiting=1
    )
    driver.read_predictions(3)
    driver.commit()
    driver.restart()
    driver.finish()
    found = {key.window_start: (sums.predictions, sums.matched, sums.evicted) for key, sums in driver.sums.items()}
    assert found == {100: (1, 0, 1), 101: (1, 0, 0), 102: (1, 0, 1)}


def test_a_label_waits_for_shadows_that_are_read_again_later_than_predictions() -> None:
    shadows = [Shadow(0, 1, 100, ref=ShadowRef("a", 1, 3), served=0.25, shadow=1.0, block=0)]
    labels = [Label(0, 1, 100, "yes"), Label(1, 1, 101, "yes")]
    driver = Driver([predicted(0, 9, 100), predicted(1, 9, 180)], labels, RULES, max_waiting=UNLIMITED, shadows=shadows)
    driver.read_shadows(1)
    driver.read_labels(1)
    driver.read_predictions(2)
    driver.commit()
    driver.restart()
    driver.read_predictions(2)
    driver.read_labels(1)
    driver.read_shadows(1)
    driver.finish()
    assert [sums.n_matched.sum() for sums in driver.paired.values()] == [1]
