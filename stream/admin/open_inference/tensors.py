"""Reads and writes the tensors of the Open Inference Protocol: as JSON, and with the extension for binary data. Pure.

Source: https://github.com/kserve/open-inference-protocol and Triton's extension `binary_tensor_data`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forebay.schemas.failures import FailureKind
from forebay.stream.admin.predict_requests import RequestError

DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}
"""NumPy's type for each datatype; the elements of BYTES are texts."""
MAX_DIMS: Final = 9
_LENGTH: Final = struct.Struct("<I")


class Tensor(NamedTuple):
    """A tensor of a request or a response. values: has its shape."""

    name: str
    datatype: str
    values: NDArray[Any]


def read_tensor(entry: Any, binary: memoryview) -> tuple[Tensor, int]:
    """Return a tensor and the number of its bytes in `binary`. Raise RequestError if it is not one.

    entry: of `inputs` of a request.
    binary: the binary data that no tensor before has used.
    """
    if not isinstance(entry, dict):
        raise _invalid("an entry of inputs is not an object")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str):
        raise _invalid("an entry of inputs has no name")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise _invalid(f"input {name[:80]!r}: the datatype must be one of {', '.join(DATATYPES)}")
    if not isinstance(shape, list) or not _is_shape(shape):
        raise _invalid(f"input {name[:80]!r}: the shape must be a list of from 1 to {MAX_DIMS} sizes")
    parameters = entry.get("parameters")
    num_bytes = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if num_bytes is None:
        return Tensor(name, datatype, _from_json(entry.get("data"), name, datatype, shape)), 0
    if type(num_bytes) is not int or not 0 <= num_bytes <= len(binary):
        raise _invalid(f"input {name[:80]!r}: binary_data_size is {str(num_bytes)[:40]}; {len(binary)} bytes are left")
    return Tensor(name, datatype, _from_bytes(binary[:num_bytes], name, datatype, shape)), num_bytes


def _is_shape(shape: list[Any]) -> bool:
    return 1 <= len(shape) <= MAX_DIMS and all(type(size) is int and 0 <= size < 2**31 for size in shape)


def _from_json(data: Any, name: str, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    if not isinstance(data, list):
        raise _invalid(f"input {name[:80]!r} has neither data nor binary_data_size")
    flat = list(_flattened(data, len(shape)))
    _check_count(len(flat), name, shape)
    # NumPy would cut off the fraction of a number without saying so.
    allowed = (str,) if datatype == "BYTES" else (int, float) if datatype.startswith("FP") else (int,)
    if not all(isinstance(value, allowed) for value in flat if value is not None):
        raise _invalid(f"input {name[:80]!r}: a value of data is not {datatype}", FailureKind.WRONG_TYPE)
    if datatype == "BYTES":
        values = np.empty(len(flat), dtype=object)
        values[:] = flat
        return values.reshape(shape)
    if None in flat:
        if not datatype.startswith("FP"):
            raise _invalid(f"input {name[:80]!r}: only FP and BYTES can have null", FailureKind.WRONG_TYPE)
        flat = [np.nan if value is None else value for value in flat]
    try:
        with np.errstate(over="ignore"):  # what is out of range becomes infinite, and is refused as such
            return np.array(flat, dtype=DATATYPES[datatype]).reshape(shape)
    except (OverflowError, ValueError):
        raise _invalid(f"input {name[:80]!r}: a value of data is not in the range of {datatype}") from None


def _flattened(data: Sequence[Any], depth: int) -> Iterable[Any]:
    """Yield the values of nested lists, at most `depth` deep."""
    for value in data:
        if isinstance(value, list) and depth > 1:
            yield from _flattened(value, depth - 1)
        else:
            yield value


def _from_bytes(data: memoryview, name: str, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    if datatype == "BYTES":
        texts = list(_texts_of(data, name))
        _check_count(len(texts), name, shape)
        values = np.empty(len(texts), dtype=object)
        values[:] = texts
        return values.reshape(shape)
    size = DATATYPES[datatype].itemsize
    if len(data) != size * prod(shape):
        raise _invalid(
            f"input {name[:80]!r}: {len(data)} bytes; {datatype} of shape {list(shape)} has {size * prod(shape)}",
            FailureKind.WRONG_LENGTH,
        )
    return np.frombuffer(data, dtype=DATATYPES[datatype]).reshape(shape)


def _texts_of(data: memoryview, name: str) -> Iterable[str]:
    """Yield the texts of BYTES: each has its length, uint32 little-endian, before it."""
    start = 0
    while start < len(data):
        begin = start + _LENGTH.size
        end = begin + (_LENGTH.unpack_from(data, start)[0] if begin <= len(data) else len(data))
        if end > len(data):
            raise _invalid(f"input {name[:80]!r}: the binary data ends inside a text", FailureKind.WRONG_LENGTH)
        try:
            yield str(data[begin:end], "utf-8")
        except UnicodeDecodeError:
            raise _invalid(f"input {name[:80]!r}: a text is not UTF-8", FailureKind.WRONG_TYPE) from None
        start = end


def _check_count(count: int, name: str, shape: Sequence[int]) -> None:
    if count != prod(shape):
        raise _invalid(
            f"input {name[:80]!r}: {count} values; the shape {list(shape)} has {prod(shape)}", FailureKind.WRONG_LENGTH
        )


def json_entry(tensor: Tensor) -> dict[str, Any]:
    """Return an entry of `outputs` with its data in JSON."""
    return {**_entry(tensor), "data": tensor.values.ravel().tolist()}


def binary_entry(tensor: Tensor) -> tuple[dict[str, Any], bytes]:
    """Return an entry of `outputs`, and its data in bytes."""
    if tensor.datatype == "BYTES":
        texts = [text.encode() for text in tensor.values.ravel().tolist()]
        data = b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    else:
        data = np.ascontiguousarray(tensor.values, dtype=DATATYPES[tensor.datatype]).tobytes()
    return {**_entry(tensor), "parameters": {"binary_data_size": len(data)}}, data


def _entry(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.values.shape)}


def divide_body(body: bytes, header_length: str | None) -> tuple[Any, memoryview]:
    """Return the document of a request, and the binary data after it. Raise RequestError if there is none.

    header_length: value of the HTTP header `Inference-Header-Content-Length`; None without it.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and int(header_length[:12]) <= len(body)):
            raise _invalid(f"Inference-Header-Content-Length is {header_length[:40]!r}; the body has {len(body)} bytes")
        length = int(header_length[:12])
    try:
        document = orjson.loads(memoryview(body)[:length])
    except orjson.JSONDecodeError as error:
        raise RequestError(FailureKind.NOT_JSON, str(error)[:200]) from None
    if not isinstance(document, dict):
        raise RequestError(FailureKind.NOT_AN_OBJECT, "the request is not a JSON object")
    return document, memoryview(body)[length:]


def _invalid(message: str, kind: FailureKind = FailureKind.INVALID_PAYLOAD) -> RequestError:
    return RequestError(kind, message)
