"""A real worker that reads events of several formats from one topic, and events of any producer from another."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from tests.brokers.resolve import Broker
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.harness import WorkerGroup, kinds, total

JULY = 1_372_636_800_000
NUM_ROUNDS = 40

Message = tuple[bytes, bytes | None, list[tuple[str, bytes]]]


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: formats are decoded behind the consumer."""
    return embedded_broker


def content_type(text: str) -> tuple[str, bytes]:
    return ("content-type", text.encode())


def messages_of(event_id: str, features: list[float]) -> list[Message]:
    """Return the event in each format, with the format as the end of its id."""
    raw = np.array(features, dtype="<f4").tobytes()

    def event(of: str, values: object = features) -> dict[str, Any]:
        return {"id": f"{event_id}-{of}", "timestamp": JULY, "features": values}

    cloud_event = {
        "specversion": "1.0",
        "id": f"{event_id}-structured",
        "source": "/orders",
        "type": "order",
        "time": "2013-07-01T00:00:00Z",
    }
    in_base64 = {
        **cloud_event,
        "id": f"{event_id}-data",
        "datacontenttype": "application/msgpack",
        "data_base64": base64.b64encode(msgspec.msgpack.encode({"features": features})).decode(),
    }
    binary = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{event_id}-binary".encode()),
        ("ce_time", b"2013-07-01T00:00:00Z"),
        content_type("application/json"),
    ]
    return [
        (orjson.dumps(event("json")), b"k", []),
        (msgspec.msgpack.encode(event("msgpack")), b"k", [content_type("application/msgpack")]),
        (msgspec.msgpack.encode(event("packed", raw)), b"k", [content_type("application/x-msgpack")]),
        (orjson.dumps(event("base64", base64.b64encode(raw).decode())), b"k", []),
        (raw, f"{event_id}-f32".encode(), [content_type("application/x-forebay-f32")]),
        (
            orjson.dumps({**cloud_event, "data": {"features": features}}),
            b"k",
            [content_type("application/cloudevents+json")],
        ),
        (orjson.dumps(in_base64), b"k", [content_type("application/cloudevents+json; charset=utf-8")]),
        (orjson.dumps({"features": features}), b"k", binary),
        (b"\x93\x01", b"k", [content_type("application/msgpack")]),
    ]


FORMATS = ["json", "msgpack", "packed", "base64", "f32", "structured", "data", "binary"]


async def test_formats_alternate_in_a_topic_and_a_mapping_reads_another(worker_group: WorkerGroup) -> None:
    await worker_group.create(inputs=["features", "orders"], partitions=2)
    random = np.random.default_rng(0)
    expected: dict[str, float] = {}
    sent: list[list[Message]] = [[], []]
    orders: list[list[bytes]] = [[], []]
    for number in range(NUM_ROUNDS):
        values = random.normal(size=NUM_FEATURES).astype(np.float32)
        sent[number % 2] += messages_of(str(number), values.tolist())
        expected |= {f"{number}-{of}": feature_hash(values) for of in FORMATS}
        order = {"order": {"id": number, "at": 1_372_636_800 + number}, "payload": {"row": values.tolist()}}
        orders[number % 2].append(orjson.dumps(order))
        expected[str(number)] = feature_hash(values)
    mapping = {
        "id": "field:order.id",
        "timestamp": "field:order.at",
        "timestamp_unit": "s",
        "features": "payload.row",
    }
    worker = worker_group.start(
        input={"topics": ["features", "orders"], "mappings": {"orders": mapping}}, batch={"max_batch_size": 64}
    )
    await worker.ready()
    await worker_group.send(
        [[value for value, _, _ in part] for part in sent],
        [[key for _, key, _ in part] for part in sent],
        headers=[[headers for _, _, headers in part] for part in sent],
    )
    await worker_group.send(orders, topic="orders")
    await worker_group.settled_by(worker)
    predictions = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert {document["id"]: document["prediction"][0] for document in predictions} == expected
    assert len(predictions) == len(expected)
    assert {document["source"]["timestamp"] for document in predictions if document["id"] == "3"} == {JULY + 3_000}
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {"not_an_object": NUM_ROUNDS}
    assert {bytes(letter.value) for letter in letters} == {b"\x93\x01"}
    for partition in (0, 1):
        offsets = [
            document["source"]["offset"]
            for document in predictions
            if document["source"]["topic"] == worker_group.topic("features")
            and document["source"]["partition"] == partition
        ]
        assert offsets == sorted(offsets)


async def test_windows_take_mapped_events_by_their_key_and_time(worker_group: WorkerGroup) -> None:
    await worker_group.create_for_windows(partitions=1)
    events = [
        {"user": user, "at_us": (JULY + 100 * number) * 1000, "row": [float(number)] * NUM_FEATURES}
        for number in range(20)
        for user in ("a", "b")
    ]
    last = {"user": "a", "at_us": (JULY + 5_000) * 1000, "row": [0.0] * NUM_FEATURES}  # closes the other windows
    mapping = {
        "id": "position",
        "timestamp": "field:at_us",
        "timestamp_unit": "us",
        "key": "field:user",
        "features": "row",
    }
    worker = worker_group.start(
        mode="windows",
        window={"kind": "tumbling", "size_ms": 1_000, "max_out_of_orderness_ms": 0},
        input={"format": "msgpack", "mapping": mapping},
    )
    await worker_group.send([[msgspec.msgpack.encode(event) for event in [*events, last]]])
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    assert total(await worker_group.outputs("outcome-deltas"), outcome="accepted") == len(events) + 1
    windows = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
    assert {(one["id"], one["window"]["events"]) for one in windows} == {
        (f"{user}|{JULY + start}|{JULY + start + 1_000}", 10) for user in ("a", "b") for start in (0, 1_000)
    }
