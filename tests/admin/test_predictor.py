"""`/predict`: it predicts and rejects as the stream does, and does not disturb the stream."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from forebay.models.artefacts.preprocessing import Preprocessing, RowCheck
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.admin import predictor
from forebay.stream.admin.predictor import MAX_PENDING, NotReady
from forebay.stream.config.input_mapping import MappingTable
from forebay.stream.config.sections import InputSection
from forebay.stream.core.records import BatchResult, FloatMatrix, MicroBatch
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.inference.executor import Deferred
from tests.admin.predictor import Model, ask, predicted, running
from tests.core.build import MODEL, P0, FakeRecord, event, signature
from tests.eventually import eventually


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


async def test_a_list_has_an_entry_for_each_event_in_order() -> None:
    good, bad, poison = event("a", [1, 2, 3]), b'{"features": [1]}', event("p", [13, 0, 0])
    status, documents = await predicted(b"[" + b",".join([bad, good, poison]) + b"]")
    assert status == 200
    assert [document.get("error", {}).get("kind") for document in documents] == ["wrong_length", None, "model_error"]
    assert documents[1]["id"] == "a"
    assert documents[2]["id"] == "p"


async def test_an_event_that_the_preparation_rejects() -> None:
    class Checking(Model):
        def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
            check = RowCheck(3, (1,), (None,), (9.0,), allow_missing=(True,), names=("speed",))
            return super().prepare(Preprocessing((check,)).apply(x_BF, checked=True))

    async with running(Checking()) as (predictor, *_):
        status, document = await ask(predictor, event("a", [1, 10, 3]))
        assert status == 422
        assert document["error"]["kind"] == "outlier" and document["error"]["stage"] == "prepare"
        assert document["error"]["message"] == "'speed' is outside the range that the model's preparation allows: to 9"
        body = b"[" + event("a", [1, 2, 3]) + b"," + event("b", [1, 10, 3]) + b"]"
        status, documents = await ask(predictor, body)
        assert (status, documents[0]["prediction"], documents[1]["id"]) == (200, [2.0, 4.0], "b")
        assert documents[1]["error"]["kind"] == "outlier"


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
    actual_status, document = await predicted(body)
    if isinstance(document, list):
        (document,) = document
    error = document["error"]
    assert (actual_status, error["kind"]) == (status, kind)
    assert error["remedy"] == FAILURES[FailureKind(kind)].remedy
    assert error["stage"] == FAILURES[FailureKind(kind)].stage.value


async def test_a_raw_row() -> None:
    row = np.array([1, 2, 3], dtype="<f4").tobytes()
    headers = {"Content-Type": "application/x-forebay-f32", "forebay-id": "raw-1"}
    status, document = await predicted(row, headers)
    assert (status, document["id"], document["prediction"]) == (200, "raw-1", [2.0, 4.0])
    assert (await predicted(row, {"Content-Type": "text/csv"}))[0] == 415
    assert (await predicted(row[:8], headers))[1]["error"]["kind"] == "wrong_length"


async def test_events_of_requests_are_not_events_of_the_stream() -> None:
    """The device returns the results of the stream's own batches in order, whatever requests come between."""
    async with running(Model()) as (predictor, device, breaker):
        collected: list[BatchResult | Deferred] = []
        decoder = Decoder([DecodedModel(MODEL, signature(3))], max_event_bytes=1000)
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
        assert [result.batch.seq for result in collected] == list(range(6))
        assert breaker.failures == 0


async def test_only_a_few_requests_may_wait_for_the_device() -> None:
    model = Model()
    async with running(model) as (predictor, *_):
        model.gate.clear()
        asking = [asyncio.create_task(ask(predictor, event())) for _ in range(MAX_PENDING)]
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="already waiting for the model") as error:
            await ask(predictor, event())
        assert error.value.kind == "busy"
        for task in asking[1:]:
            task.cancel()  # the client has gone
        await asyncio.wait(asking[1:])
        model.gate.set()
        assert (await asking[0])[0] == 200
        assert (await ask(predictor, event()))[0] == 200
        assert len(model.calls) == 2  # the model was not called for clients that have gone


async def test_a_broken_model_is_reported_and_no_row_is_blamed() -> None:
    model = Model()
    async with running(model) as (predictor, _device, breaker):
        model.broken = True
        with pytest.raises(NotReady, match="on any input"):
            await ask(predictor, event())
        assert breaker.failures == 0  # the stream's own calls decide about that
        breaker.trip(0.0, "test")
        with pytest.raises(NotReady, match="breaker"):
            await ask(predictor, event())


async def test_a_body_is_read_only_if_the_request_is_admitted() -> None:
    model, bodies = Model(), asyncio.Event()

    async def slow() -> bytes:
        await bodies.wait()
        return event()

    async def unread() -> bytes:
        raise AssertionError("the request is not admitted")

    async with running(model) as (predictor, *_):
        asking = [asyncio.create_task(predictor.predict(slow, {})) for _ in range(MAX_PENDING)]
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="already waiting for the model"):
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

    for name in ("read_request", "decompress", "decode_request", "build_response", "encode_json"):
        monkeypatch.setattr(predictor, name, recorded(getattr(predictor, name)))
    status, _document = await predicted(event())
    assert status == 200
    assert threads == {"predict_0"}


async def test_events_of_other_formats_and_with_a_mapping() -> None:
    mapping = MappingTable(id="field:order.id", timestamp="field:at", features="row")
    formats = event_formats(InputSection(format="msgpack", mapping=mapping), prefix="")
    mapped = {"order": {"id": 7}, "at": "2013-07-01T00:00:00Z", "row": [1, 2, 3]}
    cloud_event = {"specversion": "1.0", "id": "c", "source": "/", "type": "t", "data": {"input": [1, 2, 3]}}
    async with running(Model(), formats=formats) as (predictor, *_):
        for body, content_type, event_id in (
            (event("a", [1, 2, 3]), "application/json", "a"),
            (orjson.dumps(mapped), "application/json", "7"),
            (msgspec.msgpack.encode(mapped), "application/msgpack", "7"),
        ):
            status, document = await ask(predictor, body, headers={"Content-Type": content_type})
            assert (status, document["id"], document["prediction"]) == (200, event_id, [2.0, 4.0]), document
        status, document = await ask(predictor, b"[" + orjson.dumps(mapped) + b"," + event("b", [1, 2, 3]) + b"]")
        assert (status, [one["id"] for one in document]) == (200, ["7", "b"])
    async with running(Model()) as (predictor, *_):
        headers = {"Content-Type": "application/cloudevents+json"}
        status, document = await ask(predictor, orjson.dumps(cloud_event), headers=headers)
        assert (status, document["id"], document["prediction"]) == (200, "c", [2.0, 4.0]), document
        status, document = await ask(predictor, b"\x93", headers={"Content-Type": "application/msgpack"})
        assert (status, document["error"]["kind"]) == (400, "not_an_object")
