"""The buckets of one partition: counting, publishing, writing and closing."""

from __future__ import annotations

import orjson
import pytest
from jsonschema import Draft202012Validator

from forebay.schemas.aggregates import LATE
from forebay.schemas.definitions import definitions
from forebay.schemas.examples import good_examples
from forebay.stream.aggregate.delta import CellKey, Exemplar, parse_delta
from forebay.stream.aggregate.state import MAX_AHEAD_MS, PartitionState, merge_changelog
from tests.aggregate.build import MINUTE, MODEL_ERROR, NOT_JSON, PREDICTED, STACK, START, TIMING, at, delta, parsed


def counted(*deltas: object) -> PartitionState:
    state = PartitionState(2)
    for offset, one in enumerate(deltas):
        state.apply(offset, at(0.5), one)  # type: ignore[arg-type]
    return state


def again(state: PartitionState) -> PartitionState:
    """Restore the state as another process does."""
    rows: dict[bytes, bytes] = {}
    merge_changelog(rows, state.take_changes())
    return PartitionState.restore(state.partition, rows)


def test_deltas_of_one_bucket_and_kind_add_up() -> None:
    state = counted(
        delta(count=3, first_seen=5, last_seen=7, sample_ids=("a", "b")),
        delta(count=4, first_seen=2, last_seen=9, sample_ids=("b", "c")),
        delta(0, PREDICTED, 93),
    )
    not_json, predicted = parsed(state.take_updates(None, TIMING))
    assert (not_json["count"], not_json["first_seen"], not_json["last_seen"]) == (7, 2, 9)
    assert not_json["sample_ids"] == ["a", "b", "c"]
    assert (not_json["events"], not_json["rate"], predicted["rate"]) == (100, 0.07, 0.93)
    assert not_json["revision"] == predicted["revision"] == 6 and not not_json["final"]


def test_samples_are_limited_and_an_exemplar_with_a_stack_is_kept() -> None:
    plain = Exemplar("plain", None, None)
    state = counted(*(delta(0, MODEL_ERROR, sample_ids=(f"{n}", f"{n}x"), exemplar=plain) for n in range(4)))
    state.apply(9, at(0.5), delta(0, MODEL_ERROR, exemplar=STACK))
    state.apply(10, at(0.5), delta(0, MODEL_ERROR, exemplar=Exemplar("later", "x", "another")))
    (found,) = parsed(state.take_updates(None, TIMING))
    assert found["sample_ids"] == ["0", "0x", "1", "1x", "2"]
    assert found["exemplar"] == {"message": "index …", "stack_hash": "abc", "stack": "File m.py"}


def test_a_delta_that_is_read_again_changes_nothing() -> None:
    state = counted(delta(count=5))
    state.apply(0, at(0.5), delta(count=5))
    assert parsed(state.take_updates(None, TIMING))[0]["count"] == 5
    # The window was written, the position was not: the process died in between.
    (window, _position) = state.take_changes()
    found = PartitionState.restore(2, {window[0]: window[1] or b""})
    assert found.next_offset is None
    found.apply(0, at(0.5), delta(count=5))
    assert found.take_changes() != [] and parsed(found.take_updates(None, TIMING))[0]["count"] == 5


def test_an_update_is_published_once_and_then_the_final_aggregate() -> None:
    state = counted(delta())
    assert len(state.take_updates(at(1), TIMING)) == 1
    assert state.take_updates(at(1.9), TIMING) == []
    (final,) = parsed(state.take_updates(at(2), TIMING))
    assert final["final"] and final["revision"] == 3
    assert state.take_updates(at(3), TIMING) == []
    state.apply(5, at(3), delta())
    (more,) = parsed(state.take_updates(at(3), TIMING))
    assert (more["count"], more["revision"], more["final"]) == (2, 5, True)


def test_a_restart_publishes_all_buckets_again_with_the_same_revisions() -> None:
    state = counted(delta(), delta(0, MODEL_ERROR, exemplar=STACK), delta(1, model="a|b"))
    before = state.take_updates(at(2), TIMING)
    assert sorted(again(state).take_updates(at(2), TIMING)) == sorted(before)


def test_closing_writes_final_aggregates_then_the_position_then_tombstones() -> None:
    state = counted(delta(), delta(3))
    assert state.close(at(10), TIMING) is None, "what is counted must be written first"
    state.take_changes()
    assert state.close(at(5.99), TIMING) is None and state.close(None, TIMING) is None
    closing = state.close(at(6), TIMING)
    assert closing is not None
    (final,) = parsed(closing.finals)
    assert final["window_start"] == START and final["final"]
    assert parsed(closing.position) == [{"format": 1, "next_offset": 2, "closed_before": at(1)}]
    assert closing.tombstones == [(f"2|{START}|1|m".encode(), None)]
    assert [key.window_start for key in state.buckets] == [at(3)]
    assert state.close(at(6), TIMING) is None


def test_closing_does_not_publish_a_final_aggregate_again() -> None:
    state = counted(delta())
    state.take_changes()
    state.take_updates(at(3), TIMING)
    closing = state.close(at(7), TIMING)
    assert closing is not None and closing.finals == []


def test_a_delta_of_a_closed_bucket_is_late_and_does_not_open_the_bucket_again() -> None:
    state = counted(delta(count=7))
    state.take_changes()
    state.close(at(6), TIMING)
    state.apply(1, at(6.5), delta(count=3))
    (key,) = state.buckets
    assert key.window_start == at(6)
    (late,) = parsed(state.take_updates(None, TIMING))
    assert (late["outcome"], late["kind"], late["count"]) == (LATE, "not_json", 3)
    assert (late["events"], late["rate"]) == (0, None)


def test_a_delta_of_the_far_future_is_counted_in_the_bucket_of_its_arrival() -> None:
    ahead = MAX_AHEAD_MS // MINUTE
    state = counted(delta(ahead), delta(ahead + 2))
    assert sorted(key.window_start for key in state.buckets) == [START, at(ahead)]


def test_no_bucket_closes_while_one_is_ahead_of_the_position() -> None:
    state = counted(delta(count=7))
    window, _ = state.take_changes()
    found = PartitionState.restore(2, {window[0]: window[1] or b"", b"2|position": position(0)})
    assert found.close(at(100), TIMING) is None
    found.apply(0, at(0.5), delta(count=7))
    found.take_changes()
    assert found.close(at(100), TIMING) is not None


def position(next_offset: int, closed_before: int = 0) -> bytes:
    return orjson.dumps({"format": 1, "next_offset": next_offset, "closed_before": closed_before})


def test_the_changelog_record_that_has_counted_further_is_kept() -> None:
    state = counted(delta())
    (key, old), (at_key, _) = state.take_changes()
    state.apply(1, at(0.5), delta())
    (_, new), _ = state.take_changes()
    rows: dict[bytes, bytes] = {}
    merge_changelog(rows, [(key, new), (key, old), (at_key, position(2, at(3))), (at_key, position(5, at(1)))])
    assert rows == {key: new, at_key: position(5, at(3))}
    merge_changelog(rows, [(key, None)])
    assert rows == {at_key: position(5, at(3))}


def test_records_of_other_partitions_are_ignored() -> None:
    rows: dict[bytes, bytes] = {}
    for partition in (1, 11):
        state = PartitionState(partition)
        state.apply(7, at(0), delta(count=partition))
        merge_changelog(rows, state.take_changes())
    found = PartitionState.restore(1, rows)
    assert [bucket.events for bucket in found.buckets.values()] == [1]
    assert found.next_offset == 8


def test_all_written_records_match_their_schema() -> None:
    state = counted(delta(0, PREDICTED, 4), delta(0, MODEL_ERROR, sample_ids=("a",), exemplar=STACK))
    schemas = definitions()
    for value in parsed(state.take_changes()):
        assert list(Draft202012Validator(schemas["aggregator-changelog"]).iter_errors(value)) == []
    for value in parsed(state.take_updates(at(9), TIMING)):
        assert list(Draft202012Validator(schemas["error-aggregate"]).iter_errors(value)) == []


@pytest.mark.parametrize("example", [e for e in good_examples() if e.schema == "outcome-delta"], ids=str)
def test_the_example_deltas_are_parsed(example: object) -> None:
    found = parse_delta(example.value)  # type: ignore[attr-defined]
    assert found is not None and found.model == "flight-delay" and found.count in (2, 480)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"outcome": "nothing"},
        {"outcome": "lost"},
        {"stage": "lunch"},
        {"kind": "user-4711"},
        {"count": 0},
        {"count": True},
        {"version": "1"},
        {"window_end": 0},
        {"model": None},
        {"sample_ids": None},
        {"exemplar": 7},
        {"exemplar": {}},
    ],
)
def test_an_invalid_delta_is_parsed_as_none(change: dict[str, object]) -> None:
    good = next(example for example in good_examples() if example.schema == "outcome-delta")
    assert parse_delta(orjson.dumps(orjson.loads(good.value or b"") | change)) is None


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"7", b'"x"', b"\xff"])
def test_parsing_never_raises(value: bytes | None) -> None:
    assert parse_delta(value) is None


def test_the_position_passes_a_record_that_is_not_a_delta() -> None:
    state = PartitionState(0)
    state.apply(4, at(0), None)
    assert state.next_offset == 5 and state.buckets == {}
    assert [key for key, _ in state.take_changes()] == [b"0|position"]


def test_keys_come_from_closed_lists() -> None:
    assert not CellKey(LATE, "decode", "not_json").failed and not PREDICTED.failed
    assert NOT_JSON.failed and MODEL_ERROR.failed
