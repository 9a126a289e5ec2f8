"""`/predict`: what the stream would say of the same event, in the same words; what is wrong; what it must not disturb."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.models.backends.protocol import Scores
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.admin import predictor
from forebay.stream.admin.predict_requests import (
    ASKED,
    RequestFault,
    decode_request,
    decompress,
    error_document,
    read_request,
    status_of,
)
from forebay.stream.admin.predictor import MAX_WAITING, Limits, NotReady, Predictor
from forebay.stream.admin.time_slices import SLICE, TimeSlices
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.records import BatchResult, FloatMatrix, MicroBatch
from forebay.stream.decode import Decoder
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.inference.device_thread import Deferred, DeviceThread
from forebay.stream.output.encoder import PredictionEncoder
from tests.core.build import JULY, P0, FakeRecord, ManualClock, event, signature
from tests.eventtime.build import TUMBLING, plan
from tests.eventually import eventually

LIMITS = Limits(max_events=4, max_bytes=3000)


class Model:
    """Doubles its first feature; raises on 13; waits while `gate` is not set; `calls` are the rows of each call."""

    name, version = "m", 3

    def __init__(self) -> None:
        self.signature = signature(3)
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[int] = []
        self.broken = False

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        if self.broken:
            raise RuntimeError("gone")

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF * 2

    def forward(self, x_BG: FloatMatrix) -> Scores:
        assert self.gate.wait(10)
        if self.broken or (x_BG[:, 0] == 26).any():
            raise RuntimeError("no such row")
        self.calls.append(len(x_BG))
        return Scores(x_BG[:, :2].copy(), np.ones(len(x_BG), np.int64), np.full(len(x_BG), 0.5, np.float32))


@asynccontextmanager
async def running(
    model: Model, windows: WindowPlan | None = None, limits: Limits = LIMITS
) -> AsyncIterator[tuple[Predictor, DeviceThread, CircuitBreaker]]:
    clock = ManualClock()
    breaker = CircuitBreaker(failure_threshold=3, reset_timeout_s=30, on_change=lambda state, reason: None)

    def fatal(error: BaseException) -> None:
        raise error

    device = DeviceThread(
        model,
        clock=clock,
        loop=asyncio.get_running_loop(),
        breaker=breaker,
        backoff=Backoff(),
        on_fatal=fatal,
    )
    await device.start([1])
    decoder = Decoder(model.signature, model_name="m", max_event_bytes=1000)
    encoder = PredictionEncoder(model="m", version=3, labels=("no", "yes"), num_classes=2)
    predictor = Predictor(decoder, device, encoder, breaker, limits=limits, windows=windows, clock=clock)
    try:
        yield predictor, device, breaker
    finally:
        model.gate.set()
        predictor.close()
        device.stop()


async def ask(predictor: Predictor, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async def read() -> bytes:
        return body

    status, document = await predictor.predict(read, headers or {})
    return status, orjson.loads(document)


def turns() -> TimeSlices:
    return TimeSlices(ManualClock(), lambda _seconds: None)


async def predicted(body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async with running(Model()) as (predictor, *_):
        return await ask(predictor, body, headers)


async def test_one_event() -> None:
    status, document = await predicted(event("a", [1, 2, 3]))
    assert status == 200
    assert document == {
        "id": "a",
        "model": "m",
        "version": 3,
        "prediction": [2.0, 4.0],
        "confidence": 0.5,
        "class": 1,
        "label": "yes",
    }


async def test_the_specifications_shape() -> None:
    status, document = await predicted(b'{"input": [1, 2, 3]}')
    assert status == 200
    assert document["prediction"] == [2.0, 4.0]
    assert document["confidence"] == 0.5


async def test_a_list_has_an_entry_for_each_in_order() -> None:
    good, bad, poison = event("a", [1, 2, 3]), b'{"features": [1]}', event("p", [13, 0, 0])
    status, documents = await predicted(b"[" + b",".join([bad, good, poison]) + b"]")
    assert status == 200
    assert [document.get("error", {}).get("kind") for document in documents] == ["wrong_length", None, "model_error"]
    assert documents[1]["id"] == "a"
    assert documents[2]["id"] == "p"


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "empty_value"),
        (b"{nope", 400, "not_json"),
        (b"[1, 2", 400, "not_json"),
        (b"[]", 400, "empty_value"),
        (b"[1]", 400, "not_an_object"),
        (b'"text"', 400, "not_an_object"),
        (b"{}", 400, "missing_field"),
        (b'{"features": [1, null, 3]}', 400, "missing_value"),
        (b'{"features": [1, 2]}', 400, "wrong_length"),
        (b'{"features": [1, "2", 3]}', 400, "wrong_type"),
        (b'{"features": [1, 1e300, 3]}', 400, "out_of_range"),
        (b'{"features": [1, 1e400, 3]}', 400, "out_of_range"),
        (b'{"features": [1, 2, 3], "model": "other"}', 404, "unknown_model"),
        (b'{"features": [1, 2, 3], "deadline_ms": 5}', 408, "deadline_exceeded"),
        (b'{"features": [13, 2, 3]}', 422, "model_error"),
        (event("x" * 2000), 413, "too_large"),
        (b"[" + b",".join([event()] * 5) + b"]", 413, "too_large"),
    ],
)
async def test_a_bad_request_has_the_kind_of_its_dead_letter(body: bytes, status: int, kind: str) -> None:
    found, document = await predicted(body)
    if isinstance(document, list):
        (document,) = document
    error = document["error"]
    assert (found, error["kind"]) == (status, kind)
    assert error["remedy"] == FAILURES[FailureKind(kind)].remedy
    assert error["stage"] == FAILURES[FailureKind(kind)].stage.value


async def test_a_raw_row() -> None:
    row = np.array([1, 2, 3], dtype="<f4").tobytes()
    headers = {"Content-Type": "application/x-forebay-f32", "forebay-id": "raw-1"}
    status, document = await predicted(row, headers)
    assert (status, document["id"], document["prediction"]) == (200, "raw-1", [2.0, 4.0])
    assert (await predicted(row, {"Content-Type": "image/png"}))[0] == 415
    assert (await predicted(row[:8], headers))[1]["error"]["kind"] == "wrong_length"


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_reading_a_request_is_total(body: bytes) -> None:
    decoder = Decoder(signature(3), model_name="m", max_event_bytes=1000)
    try:
        asked = read_request(body, {}, turns(), now_ms=JULY, max_events=4)
    except RequestFault as fault:
        assert 400 <= status_of(fault.kind) < 500
        return
    chunk = decode_request(asked, decoder, turns())
    assert chunk.num_records == len(asked.records) == len(chunk.records) + len(chunk.rejections)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_what_has_an_id_and_a_time_reaches_the_decoder_as_it_came(features: list[float]) -> None:
    value = event("a", features)
    asked = read_request(b"[" + value + b" , " + value + b"]", {}, turns(), now_ms=1, max_events=4)
    assert [record.value for record in asked.records] == [value, value]


async def test_what_is_asked_is_no_event_of_the_stream() -> None:
    """The device's answers to the stream are those to its own batches, in order, whatever is asked between."""
    async with running(Model()) as (predictor, device, breaker):
        collected: list[BatchResult | Deferred] = []
        decoder = Decoder(signature(3), model_name="m", max_event_bytes=1000)
        asking = [asyncio.create_task(ask(predictor, event(f"q{n}", [13, 0, 0]))) for n in range(5)]
        from tests.core.build import EPOCH

        def collect() -> list[BatchResult | Deferred]:
            collected.extend(device.collect())
            return collected

        for seq in range(6):
            await eventually(lambda: (collect(), device.capacity())[1], "room on the device", every_s=0)
            (chunk,) = decoder.decode({P0: [FakeRecord(seq, event(f"s{seq}"))]}, EPOCH)
            device.submit(MicroBatch(seq, (chunk,), "size", 0.0))
            await asyncio.sleep(0)
        assert {(await task)[0] for task in asking} == {422}
        await eventually(collect, "six finished batches", until=lambda found: len(found) >= 6, every_s=0)
        assert [one.batch.seq for one in collected] == list(range(6))
        assert breaker.failures == 0


async def test_one_at_a_time_waits_for_the_device_and_few_behind_it() -> None:
    model = Model()
    async with running(model) as (predictor, *_):
        model.gate.clear()
        asking = [asyncio.create_task(ask(predictor, event())) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="wait for the model already") as error:
            await ask(predictor, event())
        assert error.value.kind == "busy"
        for task in asking[1:]:
            task.cancel()  # whoever asked has gone
        await asyncio.wait(asking[1:])
        model.gate.set()
        assert (await asking[0])[0] == 200
        assert (await ask(predictor, event()))[0] == 200
        assert len(model.calls) == 2  # for those who have gone the model was not called


async def test_a_model_that_is_not_fit_is_told_and_no_row_is_blamed() -> None:
    model = Model()
    async with running(model) as (predictor, _device, breaker):
        model.broken = True
        with pytest.raises(NotReady, match="whatever it is given"):
            await ask(predictor, event())
        assert breaker.failures == 0  # the stream's own calls decide about that
        breaker.trip(0.0, "test")
        with pytest.raises(NotReady, match="breaker"):
            await ask(predictor, event())


async def test_a_body_is_read_only_where_there_is_a_place_for_it() -> None:
    model, bodies = Model(), asyncio.Event()

    async def slow() -> bytes:
        await bodies.wait()
        return event()

    async def unread() -> bytes:
        raise AssertionError("there is no place for it")

    async with running(model) as (predictor, *_):
        asking = [asyncio.create_task(predictor.predict(slow, {})) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="wait for the model already"):
            await predictor.predict(unread, {})
        bodies.set()
        assert {(await task)[0] for task in asking} == {200}


async def test_the_event_loop_neither_parses_nor_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    def recorded(function: Any) -> Any:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            threads.add(threading.current_thread().name)
            return function(*arguments, **named)

        return wrapper

    for name in ("read_request", "decompress", "decode_request", "answer", "_response"):
        monkeypatch.setattr(predictor, name, recorded(getattr(predictor, name)))
    status, _document = await predicted(event())
    assert status == 200
    assert threads == {"predict_0"}


def long_list(count: int) -> bytes:
    """Good events and bad ones, in no regular order, some with deadlines."""
    kinds = (event("a"), b'{"features": [1]}', b'{"features": [1, 2, 3], "deadline_ms": 5}', event("d", [3, 2, 1]))
    return b"[" + b",".join(kinds[number * number % 7 % 4] for number in range(count)) + b"]"


@pytest.mark.parametrize("count", [1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE + 5])
def test_a_request_decoded_in_slices_is_as_one_decoded_whole(count: int) -> None:
    decoder = Decoder(signature(3), model_name="m", max_event_bytes=1000)
    asked = read_request(long_list(count), {}, turns(), now_ms=JULY, max_events=count)
    sliced = decode_request(asked, decoder, turns())
    (whole,) = decoder.decode({ASKED: asked.records}, sliced.epoch)
    assert np.array_equal(sliced.x_BF, whole.x_BF)
    for name in ("records", "ids", "timestamps", "rejections", "deadlines", "num_records", "num_bytes", "next_offset"):
        found, expected = getattr(sliced, name), getattr(whole, name)
        assert found == expected, name


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
async def test_brackets_without_end_are_no_json(depth: int) -> None:
    for body in (b"[" * depth, b'{"features":' + b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth):
        async with running(Model(), limits=Limits(4, 1_000_000)) as (predictor, *_):
            status, document = await ask(predictor, body)
        assert 400 <= status < 500, document


@pytest.mark.parametrize("depth", [253, 254, 300, 450])
async def test_deep_json_gets_the_answer_of_an_event_that_is_not_as_deep(depth: int) -> None:
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
def test_what_is_missing_is_added_and_the_rest_stays_as_written(value: bytes, completed: bytes) -> None:
    asked = read_request(value, {}, turns(), now_ms=7, max_events=4)
    assert [record.value for record in asked.records] == [completed]


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
def test_any_headers_and_body_are_a_request_or_a_fault_that_json_can_tell(body: bytes, headers: dict[str, str]) -> None:
    decoder = Decoder(signature(3), model_name="m", max_event_bytes=1000)
    try:
        plain = decompress(body, headers, max_bytes=1000)
        asked = read_request(plain, headers, turns(), now_ms=JULY, max_events=4)
    except RequestFault as fault:
        assert orjson.dumps(error_document(fault.kind, fault.message))
        return
    for rejection in decode_request(asked, decoder, turns()).rejections:
        assert orjson.dumps(error_document(rejection.kind, rejection.message))


def test_every_kind_has_a_status_of_an_error() -> None:
    assert all(status_of(kind) >= 400 for kind in FailureKind)
    assert orjson.dumps({kind.value: status_of(kind) for kind in FailureKind})


class WindowModel(Model):
    """Takes a window as the sum of its events' first feature, their number and their rate."""

    def __init__(self) -> None:
        super().__init__()
        aggregates = (Aggregate("sum", 0), Aggregate("count"), Aggregate("rate"))
        self.signature = replace(signature(3), window=WindowInput(aggregates=aggregates))


async def asked_window(*events: bytes) -> tuple[int, Any]:
    model = WindowModel()
    assert model.signature.window is not None
    of_windows = replace(plan(replace(TUMBLING, size_ms=2000), model.signature.window), num_features=3)
    async with running(model, of_windows) as (predictor, *_):
        return await ask(predictor, b"[" + b",".join(events) + b"]")


async def test_the_events_of_a_request_are_one_window_of_a_model_that_takes_windows() -> None:
    events = (event("a", [1, 2, 3]), orjson.dumps({"timestamp": JULY + 500, "features": [4, 2, 3]}))
    status, document = await asked_window(*events)
    assert status == 200
    assert document == {
        "model": "m",
        "version": 3,
        "prediction": [10.0, 4.0],  # the model doubles
        "confidence": 0.5,
        "class": 1,
        "label": "yes",
        "window": {"start": JULY, "end": JULY + 2000, "events": 2, "dropped": 0},
    }


async def test_one_event_that_is_none_makes_no_window() -> None:
    status, document = await asked_window(event("a", [1, 2, 3]), event("b", [1]), event("c", [1]))
    assert status == 400 and document["error"]["kind"] == "wrong_length"
    assert document["error"]["message"].startswith("event 1 of the request: ")


async def test_a_window_that_the_model_fails_on_is_told() -> None:
    status, document = await asked_window(event("a", [6, 2, 3]), event("b", [7, 2, 3]))
    assert status == 422 and document["error"]["kind"] == "model_error"
