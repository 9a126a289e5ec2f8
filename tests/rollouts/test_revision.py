"""Revisions survive encoding, and every record that is not one is refused with its place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.errors import DataError
from forebay.stream.rollouts.changes import promote, start_canary, start_shadow
from forebay.stream.rollouts.revision import Revision, decode_revision
from forebay.stream.rollouts.wire import MAX_RECORD_BYTES, NEWER_FORMAT
from tests.rollouts.build import MODEL, STEPS, configured, proposal
from tests.rollouts.strategies import revisions


def example() -> Revision:
    current = promote(configured(6), 7, proposal(digests={6: "sha256:aa", 7: "sha256:bb"}))
    current = start_shadow(current, 9, 0.1, proposal())
    return start_canary(
        current,
        8,
        5,
        steps=STEPS,
        seed=17,
        route_by="customer",
        proposal=proposal(reason="better recall", evidence={"recall": [0.91, 0.93]}),
    )


@given(revisions())
@settings(max_examples=100, deadline=None)
def test_a_revision_survives_encoding(revision: Revision) -> None:
    assert decode_revision(*revision.encode()) == revision


def test_an_example_survives_encoding_and_names_its_versions() -> None:
    revision = example()
    assert decode_revision(*revision.encode()) == revision
    assert revision.versions() == {7, 8, 9}
    assert revision.canaries[0].weight == 5
    assert revision.digests == {6: "sha256:aa", 7: "sha256:bb"}


def test_unknown_fields_are_ignored() -> None:
    key, value = example().encode()
    assert decode_revision(key, value[:-1] + b',"later":1}') == example_with_id(value)


def example_with_id(value: bytes) -> Revision:
    return decode_revision(MODEL.encode(), value)


def changed(**fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(example().encode()[1]) | fields)


CANARY = {"version": 8, "slots": [[0, 500]]}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"stable": 0}, "Expected `int` >= 1 - at `$.stable`"),
        ({"stable": None}, "$.stable"),
        ({"number": 0}, "$.number"),
        ({"id": ""}, "$.id"),
        ({"action": "explode"}, "Invalid enum value 'explode' - at `$.action`"),
        ({"model": "other"}, "model: 'other' differs from the record key"),
        ({"model": ""}, "$.model"),
        ({"seed": -1}, "$.seed"),
        ({"seed": 2**53}, "$.seed"),
        ({"created_ms": 10**18}, "$.created_ms"),
        ({"reason": "x" * 2001}, "$.reason"),
        ({"digests": {"seven": "sha256:aa"}}, "$.digests"),
        ({"evidence": []}, "$.evidence"),
        ({"canaries": [{"version": 8, "slots": [[0, 10_001]]}]}, "$.canaries[0].slots[0][1]"),
        ({"canaries": [{"version": 8, "slots": []}]}, "canaries[0].slots: it is empty"),
        ({"canaries": [{"version": 8, "slots": [[5, 5]]}]}, "canaries[0].slots: [5, 5) is empty"),
        ({"canaries": [{"version": 8, "slots": [[5, 9], [0, 5]]}]}, "not ascending and disjoint"),
        ({"canaries": [CANARY, CANARY | {"version": 3}], "steps": None}, "slot 0 belongs to two canaries"),
        ({"canaries": [CANARY, {"version": 8, "slots": [[600, 700]]}]}, "canaries[1]: version 8 is canaries[0] too"),
        ({"canaries": [CANARY | {"version": 7}]}, "canaries[0]: version 7 is stable too"),
        ({"shadows": [{"version": 7, "sample": 0.1}]}, "shadows[0]: version 7 is stable too"),
        ({"shadows": [{"version": 9, "sample": 0}]}, "$.shadows[0].sample"),
        ({"shadows": [{"version": 9, "sample": 1.5}]}, "$.shadows[0].sample"),
        ({"canaries": []}, "steps: they need exactly one canary, and there are 0"),
        ({"step": 4}, "step: 4 is not the index of one of the 4 weights"),
        ({"steps": {"weights": [], "every_s": 1, "min_events": 1}}, "$.steps.weights"),
        ({"steps": {"weights": [5, 5], "every_s": 1, "min_events": 1}}, "steps.weights: they must be ascending"),
        ({"format": 0}, "format: 0"),
        ({"format": "1"}, "$.format"),
    ],
)
def test_a_wrong_field_is_refused_with_its_place(fields: dict[str, object], place: str) -> None:
    with pytest.raises(DataError) as refused:
        decode_revision(MODEL.encode(), changed(**fields))
    assert refused.value.message.startswith("revision of model 'fraud': ")
    assert place in refused.value.message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (None, b"{}", "revision: it has no key"),
        (b"", b"{}", "revision: it has no key"),
        (b"\xff", b"{}", "its key is not UTF-8: invalid start byte at byte 0"),
        (b"fraud", None, "it has no value (a tombstone)"),
        (b"fraud", b"", "Input data was truncated"),
        (b"fraud", b"{}", "missing required field `format`"),
        (b"fraud", b'{"format": 1}', "missing required field `model`"),
        (b"fraud", b"null", "Expected `object`, got `null`"),
        (b"fraud", b'{"format": 1e400}', "format"),
        (b"fraud", b"[" * 200_000, "Expected `object`"),
        (b"fraud", b'{"format":1,"evidence":{"a":"\xff"}}', "codec can't decode"),
        (b"fraud", b"x" * (MAX_RECORD_BYTES + 1), "at most 1048576 are allowed"),
    ],
)
def test_other_bytes_are_refused(key: bytes | None, value: bytes | None, message: str) -> None:
    with pytest.raises(DataError) as refused:
        decode_revision(key, value)
    assert message in refused.value.message


def test_deep_nesting_is_refused() -> None:
    head = example().encode()[1].partition(b'"evidence":')[0]
    with pytest.raises(DataError, match="nested too deeply"):
        decode_revision(b"fraud", head + b'"evidence":{"a":' + b"[" * 200_000)


def test_a_later_format_is_an_error_that_names_the_record() -> None:
    with pytest.raises(DataError) as refused:
        decode_revision(b"fraud", changed(format=2))
    assert refused.value.message == "revision of model 'fraud': it has format 2, and this release reads formats up to 1"
    assert refused.value.kind == NEWER_FORMAT and refused.value.remedy


@given(st.binary(max_size=200) | st.none(), st.binary(max_size=400) | st.none())
@settings(max_examples=150, deadline=None)
def test_random_bytes_raise_only_data_errors(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(DataError):
        decode_revision(key, value)


# Encoded once: the id of a proposal is counted, and its length must not differ between two runs of one test case.
EXAMPLE = example().encode()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_changed_bytes_raise_only_data_errors(data: st.DataObject) -> None:
    key, value = EXAMPLE
    damaged = bytearray(value)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_revision(key, bytes(damaged))
    except DataError as error:
        assert error.message.startswith("revision of model")
