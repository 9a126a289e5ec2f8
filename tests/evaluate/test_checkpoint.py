"""Checkpoints of joins as the metadata of committed offsets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.evaluate.checkpoint import FORMAT, NO_TIME, InputState, JoinRules, Mark, decode, encode

PARTITION = TopicPartition("predictions", 3)
RULES = JoinRules(horizon_ms=86_400_000, early_ms=3_600_000, window_ms=3_600_000, slices=("country", "plan"))


@pytest.mark.parametrize(
    "state",
    [
        InputState(0, Mark(0)),
        InputState(900, Mark(900, 1_790_000_000_000)),
        InputState(1 << 60, Mark(12, -5), {"b1": 700, "c10": 900}),
    ],
)
def test_a_state_is_read_as_it_was_written(state: InputState) -> None:
    committed = encode(state, RULES)
    assert committed.metadata.startswith(f"{FORMAT} {RULES.digest} ")
    assert len(committed.metadata) < 1000
    assert decode(PARTITION, committed, RULES) == state


def test_floors_that_evict_nothing_are_left_out() -> None:
    state = InputState(50, Mark(20, 7), {"b1": 20, "r1": 3})
    assert decode(PARTITION, encode(state, RULES), RULES).floors == {}


@pytest.mark.parametrize("metadata", ["", "forebay1 1234 5 6 7", "written by hand", "spark"])
def test_a_foreign_offset_is_one_at_which_nothing_waits(metadata: str) -> None:
    state = decode(PARTITION, Committed(77, metadata), RULES)
    assert (state.committed, state.kept_from, state.is_empty) == (77, Mark(77, NO_TIME), True)


@pytest.mark.parametrize(
    "metadata", ["forebay-evaluate2 x", FORMAT, f"{FORMAT} a 1 x", f"{FORMAT} a 1 2 b1", f"{FORMAT} a 1 2 :"]
)
def test_a_state_of_a_later_version_is_refused_with_a_remedy(metadata: str) -> None:
    with pytest.raises(BrokerError) as caught:
        decode(PARTITION, Committed(77, metadata), RULES)
    assert caught.value.kind == "evaluate_state_unknown"
    assert "another evaluate.group_id" in (caught.value.remedy or "")
    assert "predictions-3" in str(caught.value) and FORMAT in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"horizon_ms": 1},
        {"early_ms": 1},
        {"window_ms": 1},
        {"join_by": "position"},
        {"slices": ("plan",)},
        {"max_future_ms": 1},
    ],
)
def test_other_settings_are_refused_while_something_waits(change: dict[str, object]) -> None:
    other = replace(RULES, **change)  # type: ignore[arg-type]
    with pytest.raises(BrokerError) as caught:
        decode(PARTITION, encode(InputState(50, Mark(20, 7)), RULES), other)
    assert caught.value.kind == "evaluate_config_changed"
    assert "another evaluate.group_id" in (caught.value.remedy or "")
    empty = InputState(50, Mark(50, 7))
    assert decode(PARTITION, encode(empty, RULES), other) == empty
