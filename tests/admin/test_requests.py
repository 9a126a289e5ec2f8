"""Requests to `/predict`: any bytes and headers are events or an error with a message and a status."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind
from forebay.stream.admin.predict_requests import (
    REQUEST_PARTITION,
    RequestError,
    decode_request,
    decompress,
    error_document,
    read_request,
    status_of,
)
from forebay.stream.admin.time_slices import SLICE
from forebay.stream.decode import DecodedModel, Decoder
from tests.admin.predictor import LIMITS, Limits, Model, ask, predicted, running, time_slices
from tests.core.build import JULY, MODEL, event, signature


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_reading_a_request_never_raises_another_error(body: bytes) -> None:
    decoder = Decoder([DecodedModel(MODEL, signature(3))], max_event_bytes=1000)
    try:
        request = read_request(body, {}, time_slices(), now_ms=JULY, max_events=4)
    except RequestError as fault:
        assert 400 <= status_of(fault.kind) < 500
        return
    (chunk,) = decode_request(request, decoder, time_slices())
    assert chunk.num_records == len(request.records) == len(chunk.records) + len(chunk.rejections)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_an_event_with_an_id_and_a_timestamp_reaches_the_decoder_unchanged(features: list[float]) -> None:
    value = event("a", features)
    request = read_request(b"[" + value + b" , " + value + b"]", {}, time_slices(), now_ms=1, max_events=4)
    assert [record.value for record in request.records] == [value, value]


def long_list(count: int) -> bytes:
    """Return good and bad events in an irregular order, some with deadlines."""
    kinds = (event("a"), b'{"features": [1]}', b'{"features": [1, 2, 3], "deadline_ms": 5}', event("d", [3, 2, 1]))
    return b"[" + b",".join(kinds[number * number % 7 % 4] for number in range(count)) + b"]"


@pytest.mark.parametrize("count", [1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE + 5])
def test_a_request_decoded_in_slices_equals_one_decoded_as_a_whole(count: int) -> None:
    decoder = Decoder([DecodedModel(MODEL, signature(3))], max_event_bytes=1000)
    request = read_request(long_list(count), {}, time_slices(), now_ms=JULY, max_events=count)
    (sliced,) = decode_request(request, decoder, time_slices())
    (whole,) = decoder.decode({REQUEST_PARTITION: request.records}, sliced.epoch)
    assert np.array_equal(sliced.x_BF, whole.x_BF)
    for name in ("records", "ids", "timestamps", "rejections", "deadlines", "num_records", "num_bytes", "next_offset"):
        actual, expected = getattr(sliced, name), getattr(whole, name)
        assert actual == expected, name


GZIPPED = gzip.compress(event("z"), mtime=0)


async def test_compressed_bodies() -> None:
    for body, encoding in ((GZIPPED, "gzip"), (zlib.compress(event("z")), "Deflate"), (event("z"), "identity")):
        status, document = await predicted(body, {"Content-Encoding": encoding})
        assert (status, document.get("id")) == (200, "z"), encoding


@pytest.mark.parametrize(
    ("body", "encoding", "kind"),
    [
        (b"nothing of the kind", "gzip", "not_json"),
        (GZIPPED[:-4], "gzip", "not_json"),
        (GZIPPED + b"more", "gzip", "not_json"),
        (b"", "gzip", "not_json"),
        (gzip.compress(b" " * 1_000_000, mtime=0), "gzip", "too_large"),
        (gzip.compress(b" " * (LIMITS.max_bytes + 1), mtime=0), "gzip", "too_large"),
        (event(), "br", "unsupported_content_type"),
        (event(), "gzip, gzip", "unsupported_content_type"),
        (event(), "\udcff", "unsupported_content_type"),
    ],
)
async def test_bodies_that_cannot_be_decompressed(body: bytes, encoding: str, kind: str) -> None:
    status, document = await predicted(body, {"Content-Encoding": encoding})
    assert 400 <= status < 500 and document["error"]["kind"] == kind


@pytest.mark.parametrize("depth", [100, 1100, 3000, 100_000])
async def test_endless_brackets_are_not_json(depth: int) -> None:
    for body in (b"[" * depth, b'{"features":' + b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth):
        async with running(Model(), limits=Limits(4, 1_000_000)) as (predictor, *_):
            status, document = await ask(predictor, body)
        assert 400 <= status < 500, document


@pytest.mark.parametrize("depth", [253, 254, 300, 450])
async def test_deep_json_gets_the_same_answer_as_flat_json(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    for body, expected in (
        (b'{"features": %s}' % deep, 400),
        (b' {"features": [1, 2, 3], "other": %s}' % deep, 200),
        (b'[{"features": [1, 2, 3], "other": %s}]' % deep, 200),
    ):
        async with running(Model(), limits=Limits(4, 1_000_000)) as (predictor, *_):
            assert (await ask(predictor, body))[0] == expected


@pytest.mark.parametrize(
    ("value", "completed"),
    [
        (b"{}", b'{"id":"0","timestamp":7}'),
        (b' \n{ "a" : 1e2}', b'{"id":"0","timestamp":7, "a" : 1e2}'),
        (b'{"id":"x"} ', b'{"timestamp":7,"id":"x"} '),
        (b'{"timestamp":null,"a":{}}', b'{"id":"0","timestamp":null,"a":{}}'),
    ],
)
def test_missing_fields_are_added_and_the_rest_is_unchanged(value: bytes, completed: bytes) -> None:
    request = read_request(value, {}, time_slices(), now_ms=7, max_events=4)
    assert [record.value for record in request.records] == [completed]


# As they come from the HTTP parser: bytes that are not UTF-8 are lone surrogates.
HEADER_TEXT = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(
    st.binary(max_size=20) | st.just(event()) | st.just(b"[" + event() + b"]"),
    st.dictionaries(
        st.sampled_from(
            [
                "Content-Type",
                "Content-Encoding",
                "forebay-id",
                "forebay-timestamp",
                "forebay-deadline-ms",
                "forebay-model",
            ]
        ),
        HEADER_TEXT | st.sampled_from(["application/x-forebay-f32", "application/json", "gzip", "5", "m"]),
    ),
)
def test_any_headers_and_body_are_a_request_or_an_error_in_json(body: bytes, headers: dict[str, str]) -> None:
    decoder = Decoder([DecodedModel(MODEL, signature(3))], max_event_bytes=1000)
    try:
        plain = decompress(body, headers, max_bytes=1000)
        request = read_request(plain, headers, time_slices(), now_ms=JULY, max_events=4)
    except RequestError as fault:
        assert orjson.dumps(error_document(fault.kind, fault.message))
        return
    (chunk,) = decode_request(request, decoder, time_slices())
    for rejection in chunk.rejections:
        assert orjson.dumps(error_document(rejection.kind, rejection.message))


def test_every_failure_kind_has_an_error_status() -> None:
    assert all(status_of(kind) >= 400 for kind in FailureKind)
    assert orjson.dumps({kind.value: status_of(kind) for kind in FailureKind})
