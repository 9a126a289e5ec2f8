"""The states of several models in the metadata of one committed offset: what is written is read, and it always fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import ConfigError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.eventtime.checkpoint import CommittedState, MetadataError, Pending, decode, encode
from forebay.stream.eventtime.combined_state import combine, max_listed, separate
from forebay.stream.eventtime.partition_windows import Checkpoint
from forebay.stream.eventtime.timestamp_guard import MAX_LISTED

KAFKA_LIMIT = 4096
NAMES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", fullmatch=True)


@st.composite
def states(draw: st.DrawFn) -> CommittedState:
    head = draw(st.integers(0, 10**6))
    replay_from = draw(st.integers(0, head))
    listed = draw(st.lists(st.integers(replay_from, max(replay_from, head - 1)), max_size=5, unique=True))
    pending = None
    if draw(st.booleans()):
        pending = Pending(draw(st.integers(replay_from, head)), draw(st.integers(1, 10**6)), draw(st.booleans()))
    checkpoint = Checkpoint(head, replay_from, 1, draw(st.integers(1, 10**13)))
    return CommittedState("01234567", checkpoint, tuple(sorted(listed)) if head > replay_from else (), pending)


@given(st.dictionaries(NAMES, states(), min_size=1, max_size=5))
def test_states_survive_combining(by_name: dict[str, CommittedState]) -> None:
    metadata = combine({ModelRef(name, 1): encode(state) for name, state in by_name.items()})
    assert metadata.startswith("forebay3 ")
    found = separate(metadata)
    assert found is not None
    assert {name: decode(by_name[name].checkpoint.head, text) for name, text in found.items()} == by_name


def test_the_format_is_stable() -> None:
    texts = {ModelRef("a", 1): "forebay1 01234567 1 - 3", ModelRef("b.c", 2): "forebay2 89abcdef 4 - 5 6 7 1 1,2"}
    assert combine(texts) == "forebay3 a 1 01234567 1 - 3;b.c 2 89abcdef 4 - 5 6 7 1 1,2"
    assert combine({}) == ""


@pytest.mark.parametrize("text", ["", "forebay1 01234567 1 - 3", "set by hand", "forebay33 a 1 2"])
def test_other_metadata_is_not_separated(text: str) -> None:
    assert separate(text) is None


@pytest.mark.parametrize("text", ["forebay3", "forebay3 ", "forebay3 a", "forebay3 a 1 2;", "forebay3 a 1 2;a 1 3"])
def test_damaged_metadata_is_refused(text: str) -> None:
    with pytest.raises(MetadataError):
        separate(text)


def largest(num_listed: int) -> str:
    """Return the longest state with this number of listed offsets."""
    head = 2**63 - 1
    replay_from = head - 9 * 10**11 * (num_listed + 1)
    listed = tuple(replay_from + 9 * 10**11 * (index + 1) for index in range(num_listed))
    pending = Pending(head, 10**9, all_open=True)
    return encode(CommittedState("01234567", Checkpoint(head, replay_from, -(2**62), -(2**62) + 1), listed, pending))


@given(st.lists(NAMES, min_size=2, max_size=12, unique=True))
def test_the_longest_states_of_all_models_and_of_added_ones_fit(names: list[str]) -> None:
    state = largest(max_listed(names))
    texts = {ModelRef(name, 1): state for name in names}
    added = {ModelRef(f"{index}" * 128, 1): largest(0) for index in (1, 2)}
    assert len(combine(texts | added)) <= KAFKA_LIMIT


def test_one_model_lists_as_many_rejected_events_as_ever_and_several_share_the_space() -> None:
    assert max_listed(["a" * 128]) == MAX_LISTED
    assert max_listed(["hourly", "daily"]) > 80
    assert 10 < max_listed([f"model-{index}" for index in range(10)]) < 30


def test_too_many_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="windows of 40 models do not fit") as failed:
        max_listed([f"model-{index}" for index in range(40)])
    assert failed.value.kind == "too_many_window_models"
