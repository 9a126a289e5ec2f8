"""What a user asks for: bounds, names, versions; and how far a back-fill is. Without a cluster."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.backfill.bounds import parse_bound
from forebay.stream.backfill.completion import completion
from forebay.stream.backfill.run_settings import (
    RunName,
    name_run,
    parse_versions,
    require_same_versions,
    run_settings,
    with_versions,
)
from forebay.stream.config.models_section import ModelEntry, ModelSection
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.eventtime.checkpoint import CommittedState, Pending, encode
from forebay.stream.eventtime.partition_windows import Checkpoint
from forebay.stream.kafka.consumer.backfill_group import RunProgress
from forebay.stream.kafka.consumer.frozen_ranges import FrozenRange
from forebay.stream.kafka.consumer.read_bounds import ReadBound

NOW_MS = 1_800_000_000_000
RUN = RunName("a", "live-backfill-a", "backfill-a.")
P0, P1 = TopicPartition("x-features", 0), TopicPartition("x-features", 1)


def bound(text: str, *topics: str) -> ReadBound:
    return parse_bound("--from", text, topics=topics or ("features",), prefix="x-", now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("beginning", ReadBound("beginning")),
        ("end", ReadBound("end")),
        ("-7d", ReadBound("time", time_ms=NOW_MS - 7 * 86_400_000)),
        ("90m", ReadBound("time", time_ms=NOW_MS - 90 * 60_000)),
        ("2026-01-31T12:00:00Z", ReadBound("time", time_ms=1_769_860_800_000)),
        ("1769860800000", ReadBound("time", time_ms=1_769_860_800_000)),
        ("0:120", ReadBound("offsets", offsets={P0: 120})),
        ("0:120, 1:80", ReadBound("offsets", offsets={P0: 120, P1: 80})),
        ("features:1:80", ReadBound("offsets", offsets={P1: 80})),
    ],
)
def test_a_bound_is_a_place_a_time_a_duration_or_offsets(text: str, expected: ReadBound) -> None:
    assert bound(text) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "0:-1", "0:1,", "2026-01-31T12:00:00", "-1", "0:1,0:2", "other:0:1"]
)
def test_other_bounds_are_refused_with_what_can_be_written(text: str) -> None:
    if text in ("7", "-1"):
        assert bound(text).kind == "time"  # milliseconds since 1970, as everywhere
        return
    with pytest.raises(ConfigError, match="--from"):
        bound(text)


def test_an_offset_names_its_topic_if_there_are_several() -> None:
    assert bound("clicks:0:5", "views", "clicks").offsets == {TopicPartition("x-clicks", 0): 5}
    with pytest.raises(ConfigError, match="without its topic"):
        bound("0:5", "views", "clicks")


def test_a_run_has_a_group_and_topics_of_its_own() -> None:
    settings = Settings(kafka=KafkaSection(group_id="live"), topics=TopicsSection(prefix="x-"))
    run = name_run(settings, "january", None, now_ms=NOW_MS)
    assert (run.group_id, run.outputs) == ("live-backfill-january", "x-backfill-january.")
    assert name_run(settings, None, None, now_ms=NOW_MS).run_id == "20270115-080000"
    assert name_run(settings, "a", "mine.", now_ms=NOW_MS).outputs == "mine."
    for run_id, outputs in (("a b", None), ("", None), ("a", ""), ("a", "x-"), ("a", "no/slash")):
        with pytest.raises(ConfigError):
            name_run(settings, run_id, outputs, now_ms=NOW_MS)


def test_its_worker_is_exactly_once_and_leaves_the_live_workers_alone() -> None:
    changed = run_settings(Settings(), RUN, close_windows=False)
    assert changed.kafka.group_id == "live-backfill-a" and changed.kafka.group_instance_id == "backfill-a"
    assert changed.delivery.processing_guarantee == "exactly_once" and not changed.admin.enabled
    assert changed.window.idle_timeout_ms > 100 * 365 * 86_400_000, "windows do not close by the wall clock"
    assert run_settings(Settings(), RUN, close_windows=True).window.idle_timeout_ms == 100


def test_versions_are_of_served_models_and_stay_those_of_the_start() -> None:
    assert parse_versions(["fraud@3"], ["fraud", "churn"]) == {"fraud": 3}
    for wrong in ("fraud", "fraud@", "fraud@0", "@3", "other@1"):
        with pytest.raises(ConfigError, match="--model"):
            parse_versions([wrong], ["fraud"])
    recorded = [ModelRef("fraud", 3), ModelRef("churn", 1)]
    assert require_same_versions(RUN, recorded, {"fraud": 3}) == {"fraud": 3, "churn": 1}
    with pytest.raises(ConfigError, match="begun with fraud@3, not with fraud@4"):
        require_same_versions(RUN, recorded, {"fraud": 4})


def test_versions_are_set_in_both_forms_of_the_configuration() -> None:
    short = with_versions(Settings(model=ModelSection(name="fraud")), {"fraud": 3})
    several = Settings(models=(ModelEntry(name="fraud", topics=("a",)), ModelEntry(name="churn", topics=("b",))))
    assert [served.model.version for served in short.models_to_serve()] == [3]
    assert [served.model.version for served in with_versions(several, {"churn": 2}).models_to_serve()] == [None, 2]


FROZEN = FrozenRange(10, 100, "b.", (ModelRef("fraud", 1),))


def part(offset: int, state: CommittedState | None = None) -> RunProgress:
    return RunProgress(FROZEN, Committed(offset, "" if state is None else encode(state)))


OPEN = CommittedState("digest", Checkpoint(100, 90, 1_000, 5_000))
PENDING = OPEN._replace(pending=Pending(95, 1, True))


def test_all_is_done_once_each_partition_is_committed_to_its_end() -> None:
    half = completion({P0: part(100), P1: part(40)})
    assert (half.done, half.total, half.is_complete) == (120, 180, False)
    whole = completion({P0: part(100), P1: part(100)})
    assert (whole.done, whole.total, whole.is_complete) == (180, 180, True)
    assert completion({}).is_complete, "nothing to do"


def test_open_windows_are_reported_and_wait_only_if_they_are_to_be_emitted() -> None:
    left_open = completion({P0: part(100, OPEN), P1: part(100)})
    assert left_open.is_complete and left_open.open_windows == 1
    assert not completion({P0: part(100, OPEN)}, closable_before_ms=5_001).is_complete
    assert completion({P0: part(100, OPEN)}, closable_before_ms=5_000).is_complete, "not over by the clock yet"
    assert not completion({P0: part(100, PENDING)}).is_complete, "closed windows are still to be emitted"
