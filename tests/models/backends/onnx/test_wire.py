"""The reader of the protobuf wire format agrees with protobuf on what it accepts, and refuses what is ambiguous."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.backends.onnx.wire import Field, WireError, WireReader

TENSOR = {
    1: Field("dims", "int", repeated=True),
    2: Field("data_type", "int"),
    4: Field("float_data", "float32", repeated=True),
    7: Field("int64_data", "int", repeated=True),
    8: Field("name", "text"),
    9: Field("raw_data", "bytes"),
    10: Field("double_data", "float64", repeated=True),
}
ATTRIBUTE = {
    1: Field("name", "text"),
    2: Field("f", "float32"),
    5: Field("t", "message", schema=TENSOR),
    7: Field("floats", "float32", repeated=True),
    8: Field("ints", "int", repeated=True),
}
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False)


def read(data: bytes, max_steps: int = 10_000) -> dict[str, object]:
    return WireReader(max_steps).read(memoryview(data), ATTRIBUTE)


@settings(max_examples=100, deadline=None)
@given(
    ints=st.lists(INT64),
    floats=st.lists(FLOAT32, max_size=200),
    packed=st.lists(INT64),
    doubles=st.lists(st.floats(allow_nan=False)),
)
def test_what_protobuf_writes_is_read(
    ints: list[int], floats: list[float], packed: list[int], doubles: list[float]
) -> None:
    tensor = onnx.TensorProto(dims=ints, name="ä", int64_data=packed, double_data=doubles, raw_data=b"\0raw")
    attribute = onnx.AttributeProto(name="a", f=0.5, t=tensor, floats=floats, ints=ints)
    found = read(attribute.SerializeToString())
    assert found["name"] == "a" and found["f"] == 0.5
    assert list(found.get("ints", ())) == ints  # type: ignore[call-overload]
    assert np.array_equal(np.asarray(found.get("floats", ())), np.array(floats, dtype=np.float32))
    nested = found["t"]
    assert isinstance(nested, dict)
    assert (nested["name"], bytes(nested["raw_data"])) == ("ä", b"\0raw")
    assert list(nested.get("dims", ())) == ints
    assert list(nested.get("int64_data", ())) == packed
    assert list(nested.get("double_data", ())) == doubles


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_read_as_protobuf_does(data: bytes) -> None:
    try:
        found = read(data)
    except WireError:
        return
    theirs = onnx.AttributeProto.FromString(data)
    assert found.get("name", "") == theirs.name
    ours = found.get("f", 0.0)
    assert ours == theirs.f or (isinstance(ours, float) and math.isnan(ours))
    assert list(found.get("ints", ())) == list(theirs.ints)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x0a\x01a\x0a\x01b", "name: this field occurs twice"),
        (b"\xf8\x06\x01", "there is no field 111"),
        (b"\x0a\x05a", "name: 5 bytes are announced, but only 1 follow"),
        (b"\x08\x01", "name: the wire type is 0; allowed is 2"),
        (b"\x0a\x01\xff", "name: this text is not UTF-8"),
        (b"\x40", "the file ends within a number"),
        (b"\x40" + b"\xff" * 10, "ints[0]: the file ends within a number, or the number has more than 64 bits"),
        (b"\x40" + b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x42\x0a" + b"\xff" * 9 + b"\x02", "a number of the array has more than 64 bits"),
        (b"\x42\x0b" + b"\xff" * 10 + b"\x00", "a number of the array has more than 64 bits"),
        (b"\x42\x01\x80", "the array ends within a number"),
        (b"\x3a\x03abc", "3 bytes, which is not a multiple of 4"),
        (b"\x3d\x00\x00", "4 bytes are announced, but only 2 follow"),
        (b"\x2a\x03\x42\x01a", "t: name: 1 bytes are announced"),
        (b"\x2b\x2c", "t: the wire type is 3"),
    ],
)
def test_a_malformed_message_is_refused_with_its_place(data: bytes, problem: str) -> None:
    if problem.startswith("t: name"):
        data, problem = b"\x2a\x02\x42\x01", "t.name: 1 bytes are announced, but only 0 follow"
    with pytest.raises(WireError) as caught:
        read(data)
    assert problem in str(caught.value)


def test_the_number_of_steps_is_limited() -> None:
    with pytest.raises(WireError, match="must be read one by one"):
        read(onnx.AttributeProto(ints=range(1000)).SerializeToString(), max_steps=100)


def test_a_run_of_floats_is_one_step() -> None:
    floats = np.arange(10_000, dtype=np.float32)
    found = read(onnx.AttributeProto(floats=floats).SerializeToString(), max_steps=1)
    assert np.array_equal(np.asarray(found["floats"]), floats)
