"""Tensors as JSON and as bytes: what is written is read again, and what is wrong is refused by name."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from forebay.stream.admin.open_inference.tensors import (
    DATATYPES,
    Tensor,
    binary_entry,
    divide_body,
    json_entry,
    read_tensor,
)
from forebay.stream.admin.predict_requests import RequestError

NO_BYTES = memoryview(b"")


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    shape = draw(of_numpy.array_shapes(max_dims=3, max_side=3))
    if datatype == "BYTES":
        values = np.empty(prod(shape), dtype=object)
        values[:] = draw(st.lists(st.text(), min_size=prod(shape), max_size=prod(shape)))
        return Tensor("a", datatype, values.reshape(shape))
    elements = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else {}
    return Tensor("a", datatype, draw(of_numpy.arrays(DATATYPES[datatype], shape, elements=elements or None)))


@given(tensors())
def test_what_is_written_is_read_again(tensor: Tensor) -> None:
    entry, data = binary_entry(tensor)
    from_bytes, used = read_tensor(entry, memoryview(data + b"more"))
    from_json, unused = read_tensor(json_entry(tensor), NO_BYTES)
    assert (used, unused) == (len(data), 0)
    for found in (from_bytes, from_json):
        assert found[:2] == tensor[:2]
        assert found.values.shape == tensor.values.shape and found.values.dtype == tensor.values.dtype
        assert found.values.tolist() == tensor.values.tolist()


def test_nested_and_flat_data_are_alike() -> None:
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        tensor, _ = read_tensor({"name": "a", "shape": [2, 2], "datatype": "FP32", "data": data}, NO_BYTES)
        assert tensor.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "an entry of inputs is not an object"),
        ({}, "an entry of inputs has no name"),
        ({"name": "a", "datatype": "FP8", "shape": [1]}, "the datatype must be one of BOOL, UINT8"),
        ({"name": "a", "datatype": "FP32", "shape": [-1]}, "the shape must be a list of from 1 to 9 sizes"),
        ({"name": "a", "datatype": "FP32", "shape": [True]}, "the shape must be a list"),
        ({"name": "a", "datatype": "FP32", "shape": [1] * 10}, "the shape must be a list"),
        ({"name": "a", "datatype": "FP32", "shape": [1]}, "has neither data nor binary_data_size"),
        ({"name": "a", "datatype": "FP32", "shape": [2], "data": [1]}, "1 values; the shape [2] has 2"),
        ({"name": "a", "datatype": "FP32", "shape": [1], "data": ["1"]}, "a value of data is not FP32"),
        ({"name": "a", "datatype": "FP32", "shape": [1], "data": [[1]]}, "a value of data is not FP32"),
        ({"name": "a", "datatype": "BYTES", "shape": [1], "data": [1]}, "a value of data is not BYTES"),
        ({"name": "a", "datatype": "UINT8", "shape": [1], "data": [256]}, "not in the range of UINT8"),
        ({"name": "a", "datatype": "INT8", "shape": [1], "data": [1.5]}, "a value of data is not INT8"),
        ({"name": "a", "datatype": "INT64", "shape": [1], "data": [None]}, "only FP and BYTES can have null"),
        (
            {"name": "a", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 9}},
            "binary_data_size is 9; 8 bytes are left",
        ),
        (
            {"name": "a", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 8}},
            "8 bytes; FP32 of shape [1] has 4",
        ),
        (
            {"name": "a", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 8}},
            "the binary data ends inside a text",
        ),
    ],
)
def test_what_is_wrong_is_refused(entry: Any, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_tensor(entry, memoryview(b"\5\0\0\0abcd"))
    assert message in refused.value.message


@given(st.binary(max_size=40), st.integers(0, 50))
def test_any_bytes_are_texts_or_refused(data: bytes, count: int) -> None:
    entry = {"name": "a", "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": len(data)}}
    try:
        tensor, used = read_tensor(entry, memoryview(data))
    except RequestError:
        return
    assert used == len(data) and tensor.values.size == count


@pytest.mark.parametrize("length", ["-1", "x", "99", "٣", "9" * 30])
def test_a_wrong_length_of_the_header_is_refused(length: str) -> None:
    with pytest.raises(RequestError, match="the body has 2 bytes"):
        divide_body(b"{}", length)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"1"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        divide_body(body, None)
