"""Structured CloudEvents: what their data is, and which schema it names."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson
import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import SchemaRef
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import EPOCH, JULY, P0, FakeRecord, signature

STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def cloud_event(**attributes: Any) -> FakeRecord:
    event = {
        "specversion": "1.0",
        "id": "c1",
        "source": "/s",
        "type": "t",
        "time": "2013-07-01T00:00:00Z",
        **attributes,
    }
    return FakeRecord(0, orjson.dumps(event), headers=STRUCTURED)


def encoded(data: bytes, media_type: str) -> dict[str, str]:
    return {"datacontenttype": media_type, "data_base64": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    "attributes",
    [
        {"data": {"features": [1, 2, 3]}},
        {"data": {"f0": 1, "f1": 2, "f2": 3, "more": "x"}},
        {"data": [1, 2, 3], "datacontenttype": "application/json; charset=utf-8"},
        encoded(msgspec.msgpack.encode({"input": [1, 2, 3]}), "application/msgpack"),
        encoded(orjson.dumps({"features": [1, 2, 3]}), "application/json"),
        encoded(b"\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40", "application/x-forebay-f32"),
    ],
)
def test_the_data_has_the_features(attributes: dict[str, Any]) -> None:
    decoder = Decoder([DecodedModel(ModelRef("m", 1), signature(names=True))], max_event_bytes=10_000)
    (chunk,) = decoder.decode({P0: [cloud_event(**attributes)]}, EPOCH)
    assert [rejection.message for rejection in chunk.rejections] == []
    assert (list(chunk.ids), list(chunk.timestamps), chunk.x_BF.tolist()) == (["c1"], [JULY], [[1, 2, 3]])


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"specversion": "0.3", "data": {}}, FailureKind.INVALID_PAYLOAD),
        ({"data_base64": "%"}, FailureKind.INVALID_PAYLOAD),
        ({"data_base64": 3}, FailureKind.INVALID_PAYLOAD),
        ({"datacontenttype": 3}, FailureKind.INVALID_PAYLOAD),
        (encoded(b"a,b", "text/csv"), FailureKind.UNSUPPORTED_CONTENT_TYPE),
        (encoded(frame(5, b"x"), "application/avro"), FailureKind.UNKNOWN_SCHEMA),
        ({"data": {"features": [1, 2, 3]}, "id": ""}, FailureKind.WRONG_TYPE),
        ({}, FailureKind.MISSING_FIELD),
    ],
)
def test_other_events_are_rejected(attributes: dict[str, Any], kind: FailureKind) -> None:
    decoder = Decoder([DecodedModel(ModelRef("m", 1), signature())], max_event_bytes=10_000)
    (chunk,) = decoder.decode({P0: [cloud_event(**attributes)]}, EPOCH)
    assert [rejection.kind for rejection in chunk.rejections] == [kind]


def test_data_may_name_a_schema() -> None:
    choice = FormatChoice(FormatSettings(), SchemaStore())
    record = cloud_event(**encoded(frame(5, b"x"), "application/avro"))
    assert choice.schema_ref(record, "features") == SchemaRef(id=5)
    assert choice.schema_ref(cloud_event(data={}), "features") is None
    assert choice.schema_ref(cloud_event(data_base64="%"), "features") is None
