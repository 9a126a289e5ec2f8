"""Labels of any producer: a mapping makes them labels, and what cannot be one is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from forebay.stream.config.sections import InputSection
from forebay.stream.evaluate.label_documents import label_documents
from forebay.stream.evaluate.label_parser import LabelParser
from forebay.stream.evaluate.refusals import Reason
from tests.core.build import JULY, FakeRecord

MAPPING = {"id": "field:after.order", "label": "field:after.fraud", "timestamp": "field:ts", "timestamp_unit": "s"}


def parser(**section: Any) -> LabelParser:
    documents = label_documents(InputSection(**section), "labels", prefix="a.")
    return LabelParser("id", slices=None, max_future_ms=1_000, documents=documents)


def test_a_mapping_says_where_the_parts_of_a_label_are() -> None:
    change = {"op": "u", "after": {"order": 17, "fraud": True}, "ts": JULY // 1000}
    own = parser().parse([FakeRecord(0, orjson.dumps({"id": "17", "label": True, "timestamp": JULY}))])
    records = [
        FakeRecord(0, orjson.dumps(change)),
        FakeRecord(1, msgspec.msgpack.encode(change), headers=[("content-type", b"application/msgpack")]),
        FakeRecord(2, orjson.dumps({**change, "after": None})),
        FakeRecord(3, orjson.dumps({**change, "ts": "yesterday"})),
        FakeRecord(4, b"\x93"),
    ]
    columns, refused = parser(mappings={"labels": MAPPING}).parse(records)
    assert columns.values == [True, True] and columns.times_B.tolist() == [JULY, JULY]
    assert columns.hashes_B.tolist() == [own.columns.hashes_B[0]] * 2
    assert [refusal.reason for refusal in refused] == [Reason.VALUE, Reason.MALFORMED, Reason.NOT_JSON]


def test_a_format_without_a_mapping_has_the_fields_of_labels() -> None:
    value = msgspec.msgpack.encode({"id": "e", "label": "late"})
    columns, refused = parser(formats={"labels": "msgpack"}).parse([FakeRecord(0, value, timestamp=JULY + 5)])
    assert columns.values == ["late"] and columns.times_B.tolist() == [JULY + 5] and not refused
