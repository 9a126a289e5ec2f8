"""Varints and fields of many payloads at once, against Python's integers."""

from __future__ import annotations

import numpy as np
from google.protobuf.descriptor import FieldDescriptor as F
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.decode.formats.protobuf_wire import TOO_LONG, WireBuffer, as_numbers
from tests.conftest import examples


def encode(number: int, padding: int = 0) -> bytes:
    """Return a varint; with padding, a longer one for the same number."""
    written = bytearray()
    while number > 0x7F or padding > len(written):
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)), st.integers(0, 8)), min_size=1, max_size=9
    )
)
def test_varints_of_any_length_are_read(numbers: list[tuple[int, int]]) -> None:
    values = [encode(number, padding) for number, padding in numbers]
    buffer = WireBuffer(values, 0)
    at_P = np.cumsum([0, *(len(value) + 1 for value in values[:-1])])
    found_P, length_P = buffer.varints(at_P)
    assert found_P.tolist() == [number for number, _ in numbers]
    assert np.broadcast_to(length_P, len(values)).tolist() == [len(value) for value in values]


def test_what_is_not_a_varint_has_no_end() -> None:
    values = [b"\xff" * 11, b"\x80" * 9 + b"\x02", b"\x80" * 9 + b"\x01"]
    found_P, length_P = WireBuffer(values, 0).varints(np.array([0, 12, 23]))
    assert length_P.tolist() == [TOO_LONG, TOO_LONG, 10]
    assert int(found_P[2]) == 2**63


def test_numbers_of_each_type() -> None:
    raw_P = np.array([0, 1, 2, 2**32 - 1, 2**63, 2**64 - 1], np.uint64)
    assert as_numbers(raw_P, F.TYPE_INT32)[0].tolist() == [0, 1, 2, -1, 0, -1]
    assert as_numbers(raw_P, F.TYPE_UINT32)[0].tolist() == [0, 1, 2, 2**32 - 1, 0, 2**32 - 1]
    assert as_numbers(raw_P, F.TYPE_SINT32)[0].tolist() == [0, -1, 1, -(2**31), 0, -(2**31)]
    assert as_numbers(raw_P, F.TYPE_SINT64)[0].tolist() == [0, -1, 1, -(2**31), 2**62, -(2**63)]
    assert as_numbers(raw_P, F.TYPE_BOOL)[0].tolist() == [False, True, True, True, True, True]
    numbers_P, too_large_P = as_numbers(raw_P, F.TYPE_UINT64)
    assert too_large_P is not None and too_large_P.tolist() == [False, False, False, False, True, True]
    assert numbers_P[3] == 2**32 - 1


def test_fields_of_every_wire_type_are_passed_at_once() -> None:
    values = [b"\x08\x96\x01", b"\x09" + bytes(8), b"\x0a\x02ab", b"\x0d" + bytes(4), b"\x0b\x0c", b"\xf8\xff\x01\x00"]
    starts = np.cumsum([0, *(len(value) + 1 for value in values[:-1])])
    number_P, kind_P, end_P = WireBuffer(values, 0).tokens(starts)
    assert number_P.tolist() == [1, 1, 1, 1, 1, 4095]
    assert kind_P.tolist() == [0, 1, 2, 5, 3, 0]
    lengths = (end_P - starts).tolist()
    assert lengths[:4] == [3, 9, 4, 5] and lengths[4] >= TOO_LONG and lengths[5] == 4
