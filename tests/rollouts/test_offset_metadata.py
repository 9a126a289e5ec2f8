"""The revisions in the metadata of committed offsets, beside that of windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import BrokerError, ConfigError, ForebayError
from forebay.stream.core.records import Committed
from forebay.stream.eventtime.restore import WithoutWindows, read_committed
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.pipeline.switch_recorder import RevisionRestorer
from forebay.stream.rollouts.offset_metadata import (
    MAX_METADATA_BYTES,
    MAX_WINDOW_BYTES,
    combine,
    require_room,
    required_revisions,
    separate,
)
from tests.core.build import P0, P1

NAMES = st.from_regex(r"\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}\Z")
WINDOWS = ["", "forebay1 d1 5 - 7", "forebay3 fraud 1 d1 5 - 7;churn 2 d2 5 - 7 5 1 0"]


@given(st.dictionaries(NAMES, st.integers(0, 10**9), max_size=5), st.sampled_from(WINDOWS))
def test_metadata_is_separated_as_it_was_combined(revisions: dict[str, int], windows: str) -> None:
    text = combine(revisions, windows)
    found, rest = separate(P0, Committed(7, text))
    assert found == {model: number for model, number in revisions.items() if number}
    assert rest == Committed(7, windows)
    assert text == windows or text.startswith("forebay-rollouts1 ")


def test_the_text_is_as_documented_and_absent_without_revisions() -> None:
    assert combine({"fraud": 12, "churn": 3, "new": 0}, "") == "forebay-rollouts1 churn=3,fraud=12"
    assert combine({"fraud": 12}, "forebay1 d1 5 - 7") == "forebay-rollouts1 fraud=12 | forebay1 d1 5 - 7"
    assert combine({"fraud": 0}, "") == "" and combine({}, "forebay1 d1 5 - 7") == "forebay1 d1 5 - 7"


@pytest.mark.parametrize(
    "metadata",
    [
        "forebay-rollouts2 m=1",
        "forebay-rollouts1 m",
        "forebay-rollouts1 ",
        "forebay-rollouts1 m=0",
        "forebay-rollouts1 m=x",
        "forebay-rollouts1 m=1,m=2",
        "forebay-rollouts12",
    ],
)
def test_metadata_of_later_versions_is_refused(metadata: str) -> None:
    with pytest.raises(
        BrokerError, match="features-0: the metadata of the committed offset is 'forebay-rollouts"
    ) as told:
        separate(P0, Committed(7, metadata))
    assert told.value.kind == "rollout_state_unknown"


def test_an_earlier_version_refuses_revisions_as_of_a_later_version() -> None:
    with pytest.raises(BrokerError, match="this version reads forebay1"):
        read_committed(P0, Committed(7, combine({"m": 1}, "")))


def test_partitions_require_their_greatest_revisions() -> None:
    committed = {P0: Committed(7, combine({"a": 3, "b": 1}, "")), P1: Committed(9, combine({"a": 2, "c": 5}, "x"))}
    assert required_revisions(committed) == {"a": 3, "b": 1, "c": 5}
    assert required_revisions({P0: None, P1: Committed(1, "")}) == {}


def test_too_many_models_are_refused_before_any_metadata_is_too_long() -> None:
    names = [f"{index:03d}-{'x' * 60}" for index in range(53)]
    require_room(names, [])
    assert len(combine(dict.fromkeys(names, 10**10 - 1), "")) <= MAX_METADATA_BYTES
    with pytest.raises(ConfigError, match="the revisions of 56 models do not fit"):
        require_room([*names, "a" * 64, "b" * 64, "c" * 64], [])
    require_room(names[:6], ["w"])
    assert len(combine(dict.fromkeys(names[:6], 10**10 - 1), "w" * MAX_WINDOW_BYTES)) <= MAX_METADATA_BYTES
    with pytest.raises(ConfigError, match="beside the windows of other models"):
        require_room(names[:8], ["w"])
    with pytest.raises(ForebayError, match="would have"):
        combine(dict.fromkeys(names, 1), "w" * MAX_WINDOW_BYTES)


def test_windows_see_their_own_part() -> None:
    ledger = SwitchLedger(["m"])
    ledger.apply("m", 4)
    restorer = RevisionRestorer(WithoutWindows(), ledger)
    open_windows = {P0: Committed(7, combine({"m": 3}, "forebay1 d1 5 - 7"))}
    with pytest.raises(BrokerError, match="the group has open windows"):
        restorer.restore(open_windows)
    committed = {P0: Committed(7, combine({"m": 3, "gone": 8}, "")), P1: None}
    assert restorer.restore(committed) == {P0: 7, P1: None}
    assert ledger.recorded(P0) == {"m": 3} and ledger.recorded(P1) == {}


def test_a_revision_that_is_not_applied_opens_no_partition() -> None:
    ledger = SwitchLedger(["m"])
    with pytest.raises(ForebayError, match="features-0: its events are routed by revision 3 of m"):
        RevisionRestorer(WithoutWindows(), ledger).restore({P0: Committed(7, combine({"m": 3}, ""))})


def test_a_worker_without_rollouts_refuses_offsets_that_name_revisions() -> None:
    restorer = RevisionRestorer(WithoutWindows(), None)
    with pytest.raises(BrokerError, match=r"revision 3 of m, and this worker has rollouts.enabled = false") as error:
        restorer.restore({P0: Committed(7, "forebay-rollouts1 m=3"), P1: None})
    assert error.value.kind == "rollouts_disabled"
    assert restorer.restore({P0: Committed(7, ""), P1: None}) == {P0: 7, P1: None}
