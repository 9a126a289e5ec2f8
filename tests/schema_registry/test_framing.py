from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.schema_registry.framing import (
    MAX_MESSAGE_INDEXES,
    Framing,
    InvalidFraming,
    frame,
    read_framing,
    read_message_indexes,
    write_message_indexes,
)
from forebay.stream.schema_registry.schema import SchemaRef

GUID = UUID("4d4c1b3e-0f52-4b4f-8f0b-3f1f8f7c0a11")
HEADER = "__value_schema_id"


def test_the_id_is_in_front_of_the_value() -> None:
    assert read_framing(b"\0\0\0\1\2payload", ()) == Framing(SchemaRef(id=258), 5)
    assert read_framing(b"\0\xff\xff\xff\xff", ()) == Framing(SchemaRef(id=0xFFFFFFFF), 5)


@pytest.mark.parametrize("value", [None, b"", b"\0", b"\0\0\0\0", b'{"id": 1}', b"\1\0\0\0\1"])
def test_other_values_name_no_schema(value: bytes | None) -> None:
    assert read_framing(value, [("content-type", b"application/json")]) is None


def test_the_header_takes_precedence() -> None:
    value = frame(7, b"payload")
    assert read_framing(value, [(HEADER, b"\1" + GUID.bytes)]) == Framing(SchemaRef(guid=GUID), 0)
    assert read_framing(value, [(HEADER, frame(9, b""))]) == Framing(SchemaRef(id=9), 0)


def test_the_header_may_hold_the_message_indexes() -> None:
    content = b"\1" + GUID.bytes + write_message_indexes((1, 300))
    assert read_framing(b"payload", [(HEADER, content)]) == Framing(SchemaRef(guid=GUID), 0, (1, 300))
    assert read_framing(b"payload", [(HEADER, b"\1" + GUID.bytes + b"\0")]) == Framing(SchemaRef(guid=GUID), 0, (0,))


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\1",
        b"\1" + GUID.bytes[:15],
        b"\2" + GUID.bytes,
        b"\0\0\0\1",
        b"\1" + GUID.bytes + b"\0\0",
        b"\1" * 19,
    ],
)
def test_a_header_that_is_not_understood_is_refused(content: bytes | None) -> None:
    with pytest.raises(InvalidFraming):
        read_framing(b"payload", [(HEADER, content)])


# As the serialiser of confluent-kafka 2.16.1 writes them.
@pytest.mark.parametrize(
    ("indexes", "written"),
    [((0,), "00"), ((1,), "0202"), ((0, 0), "040000"), ((1, 0, 2), "06020004"), ((300,), "02d804")],
)
def test_message_indexes_are_zigzag_varints(indexes: tuple[int, ...], written: str) -> None:
    assert write_message_indexes(indexes) == bytes.fromhex(written)
    assert read_message_indexes(frame(1, b"x", indexes), 5) == (indexes, 5 + len(written) // 2)


def test_the_long_form_of_the_first_message_is_read() -> None:
    assert read_message_indexes(b"\2\0payload", 0) == ((0,), 2)


@pytest.mark.parametrize("written", ["", "02", "0201", "01", "ca01", "808080808000", "0480"])
def test_wrong_message_indexes_are_refused(written: str) -> None:
    with pytest.raises(InvalidFraming):
        read_message_indexes(bytes.fromhex(written), 0)


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=MAX_MESSAGE_INDEXES), st.binary(max_size=4))
def test_written_message_indexes_are_read_back(indexes: list[int], payload: bytes) -> None:
    written = write_message_indexes(indexes)
    assert read_message_indexes(written + payload, 0) == (tuple(indexes), len(written))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(value: bytes, content: bytes) -> None:
    for headers in ((), ((HEADER, content),)):
        try:
            framing = read_framing(value, headers)
            if framing is not None:
                read_message_indexes(value, framing.start)
        except InvalidFraming:
            pass


def test_a_reference_has_an_id_or_a_guid() -> None:
    for fields in ({}, {"id": 1, "guid": GUID}):
        with pytest.raises(ValueError, match="either"):
            SchemaRef(**fields)  # type: ignore[arg-type]
