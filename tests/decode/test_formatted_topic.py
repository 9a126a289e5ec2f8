"""Records of any format: the fast path never differs from the exact one, and both are total."""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
import orjson
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.config.input_mapping import MappingTable
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_sizes import record_bytes
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder, formatted_topic
from forebay.stream.decode.event_formats import event_formats
from tests.core.build import EPOCH, JULY, P0, FakeRecord, columns_of
from tests.decode.build import CATEGORIES, GRID, TEXTS, TIMES

MSGPACK = (("content-type", b"application/msgpack"),)
NUMBERS = Signature((Feature("a"), Feature("b", nullable=True)), (2,), "binary", 1)
UNNAMED = Signature((), (2,), "binary", 1)
SIGNATURES = (NUMBERS, CATEGORIES, TEXTS, TIMES, UNNAMED, GRID)
MAPPINGS = (
    None,
    MappingTable(),
    MappingTable(features=""),
    MappingTable(id="field:order.id", timestamp="record", features="payload"),
    MappingTable(id="position", timestamp="field:at", timestamp_unit="us", key="field:k", fields={"a": ("x.a", "a")}),
    MappingTable(id="header:x-id", timestamp="header:x-at", timestamp_unit="s", model="field:m", deadline="field:d"),
    MappingTable(id="key", timestamp="field:at", timestamp_unit="ns", fields={"carrier": "x.c", "delay": "rows.1"}),
)


def decoder(
    of: Signature, mapping: MappingTable | None = None, *, others: Sequence[Signature] = (), default: str = "auto"
) -> Decoder:
    section = InputSection(mapping=mapping, format=default)
    models = [DecodedModel(ModelRef(f"m{number}", 1), one) for number, one in enumerate((of, *others))]
    formats = event_formats(section, prefix="")
    return Decoder(models, max_event_bytes=10_000, max_key_bytes=50, formats=formats)


def exactly(of: Decoder) -> Decoder:
    """Return the decoder without the fast path of formats."""
    of._formatted._plan = lambda *_: None  # type: ignore[method-assign]
    return of


def content(chunk: Chunk) -> Any:
    """Return everything that a chunk says, in a form that can be compared."""
    return (
        chunk.model,
        [record.offset for record in chunk.records],
        list(chunk.ids),
        list(chunk.timestamps),
        chunk.x_BF.tobytes(),
        [(one.index, one.record.offset, one.kind, one.message) for one in chunk.rejections],
        (chunk.num_records, chunk.num_bytes, chunk.next_offset),
        chunk.keys,
        chunk.deadlines,
    )


Random = random.Random
SCALARS: tuple[Callable[[Random], Any], ...] = (
    lambda _: None,
    lambda draw: draw.random() < 0.5,
    lambda draw: draw.randint(-3, 3),
    lambda draw: draw.randint(-(2**63), 2**64 - 1),
    lambda draw: draw.choice([0.5, -0.0, 3.4e38, 3.5e38, 1e300, math.nan, math.inf, 2.0**60]),
    lambda draw: draw.gauss(0, 10),
    lambda draw: draw.choice(["AA", "UA", "A", "", "17", "2013-07-01T23:30:00-05:00", "2013-02-30", "AACAPwAAAEA="]),
    lambda draw: (
        draw.randint(JULY - 1000, JULY + 1000) * draw.choice([1, 1, 1000, 1_000_000]) // draw.choice([1, 1, 1000])
    ),
)


def scalar(draw: Random) -> Any:
    return draw.choice(SCALARS)(draw)


def time(draw: Random) -> Any:
    if draw.random() < 0.3:
        return scalar(draw)
    return datetime(2013, 7, 1, tzinfo=UTC) + timedelta(microseconds=draw.randint(-(10**16), 10**16))


def row(draw: Random) -> Any:
    if draw.random() < 0.6:
        return [draw.choice([draw.gauss(0, 1), draw.randint(0, 9)]) for _ in range(2)]
    return [scalar(draw) for _ in range(draw.randint(1, 4))]


def complete(draw: Random) -> dict[str, Any]:
    """Return features that most models take."""
    found: dict[str, Any] = {
        "a": draw.gauss(0, 1),
        "carrier": draw.choice(["AA", "UA"]),
        "delay": draw.choice([draw.randint(0, 10**12), draw.gauss(0, 1e6)]),
        "gate": draw.choice(["A", "B", 3, 4.5]),
    }
    for name in ("b", "wind"):
        if draw.random() < 0.5:
            found[name] = draw.choice([scalar, time])(draw)
    return found


def some(draw: Random) -> dict[str, Any]:
    return {name: draw.choice([scalar, time])(draw) for name in ("a", "b", "carrier", "delay") if draw.random() < 0.6}


def features(draw: Random) -> Any:
    return draw.choice([complete, complete, some, row, scalar, lambda _: b"\0\0\x80\x3f\0\0\0\x40"])(draw)


FIELDS: dict[str, Callable[[Random], Any]] = {
    "id": lambda draw: draw.choice(["e1", "e2", "e3", scalar(draw)]),
    "timestamp": lambda draw: draw.choice([JULY, JULY + 1, time(draw)]),
    "at": lambda draw: draw.choice([JULY * 1000 + draw.randint(0, 10_000), time(draw)]),
    "input": row,
    "features": features,
    "payload": features,
    "order": lambda draw: draw.choice([{"id": draw.choice([scalar(draw), "o1"])}, scalar(draw)]),
    "x": lambda draw: {"a": scalar(draw), "c": draw.choice(["AA", scalar(draw)])},
    "rows": row,
    "k": lambda draw: draw.choice(["k", b"k", b"k" * 60, scalar(draw)]),
    "key": lambda draw: draw.choice(["k", None, scalar(draw)]),
    "m": lambda draw: draw.choice(["m0", "m1", "m2", None, scalar(draw)]),
    "model": lambda draw: draw.choice(["m0", "m1", None, None, scalar(draw)]),
    "d": time,
    "deadline_ms": lambda draw: draw.choice([JULY, scalar(draw)]),
}
HEADERS = [
    ("x-id", b"i"),
    ("x-id", b"\xff"),
    ("x-at", b"1372636800"),
    ("x-at", b"x"),
    ("forebay-model", b"m1"),
    ("forebay-model", b"m9"),
]


GOOD: dict[str, Callable[[Random], Any]] = {
    "id": lambda draw: f"e{draw.randint(0, 99)}",
    "timestamp": lambda draw: JULY + draw.randint(0, 99),
    "at": lambda draw: JULY * 1000 + draw.randint(0, 10_000),
    "order": lambda draw: {"id": draw.randint(0, 99)},
    "x": lambda draw: {"a": draw.gauss(0, 1), "c": "UA"},
    "k": lambda _: "k",
    "rows": lambda draw: [1, draw.randint(0, 10**9)],
}


def document(draw: Random, names: Sequence[str], *, is_good: bool) -> dict[str, Any]:
    """Return a document that usually has these fields. is_good: whether most of them are plainly valid."""
    found = {name: FIELDS[name](draw) for name in FIELDS if (name in names) != (draw.random() < 0.05)}
    if is_good and draw.random() < 0.9:
        shape = {"features": complete(draw), "payload": complete(draw)} if "flat" in names else {}
        found = {name: make(draw) for name, make in GOOD.items()} | shape
    return found | complete(draw) if "flat" in names or is_good else found


def poll_of(draw: Random, encode: Callable[[Any], bytes], headers: Sequence[tuple[str, bytes]]) -> list[Any]:
    """Return records whose documents usually look alike."""
    names = [name for name in (*FIELDS, "flat") if draw.random() < 0.6]
    extra, is_good = draw.random() < 0.3, draw.random() < 0.7
    return [
        (
            encode(document(draw, names, is_good=is_good)),
            draw.choice([None, b"k", b"k2"] if is_good else [None, b"k", b"", b"\xff", b"k" * 60]),
            draw.choice([JULY, JULY] if is_good else [JULY, -1, 2**60]),
            (*headers, *(draw.sample(HEADERS, 2) if extra else ())),
        )
        for _ in range(draw.randint(1, 6))
    ]


def to_json(document: Any) -> bytes:
    return orjson.dumps(document, default=lambda value: base64.b64encode(value).decode())


def compare(poll: Sequence[Any], fast: Decoder, exact: Decoder) -> None:
    records = [
        FakeRecord(10 + offset, value, timestamp=timestamp, key=key, headers=headers)
        for offset, (value, key, timestamp, headers) in enumerate(poll)
    ]
    expected = list(map(content, exact.decode({P0: records}, EPOCH)))
    assert list(map(content, fast.decode({P0: records}, EPOCH))) == expected
    chunks = fast.decode({P0: records}, EPOCH)
    assert list(map(content, chunks)) == expected, "after what the first poll has taught"
    assert list(map(content, fast.decode({P0: columns_of(records)}, EPOCH))) == expected, "as columns"
    assert sum(chunk.num_records for chunk in chunks) == len(records)
    assert sum(chunk.num_bytes for chunk in chunks) == sum(map(record_bytes, records))


def rejected(of: Decoder, records: Sequence[FakeRecord]) -> list[str]:
    return [one.kind.value for chunk in of.decode({P0: records}, EPOCH) for one in chunk.rejections]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_time_of_any_size_is_out_of_range_in_any_unit(unit: Any) -> None:
    mapping = MappingTable(id="position", timestamp="field:at", timestamp_unit=unit, deadline="field:d", features="")
    good = {"a": 1, "at": 1_000, "d": 1_000}
    documents = [good] + [good | {name: at} for name in ("at", "d") for at in (1e306, -1e308, 1.7e308)]
    records = [FakeRecord(offset, to_json(one)) for offset, one in enumerate(documents)]
    assert rejected(decoder(NUMBERS, mapping), records) == ["out_of_range"] * 6


def test_a_key_in_a_header_that_is_not_utf_8_is_rejected_whatever_its_poll() -> None:
    mapping = MappingTable(id="position", timestamp="record", key="header:x-k", features="")
    records = [
        FakeRecord(offset, b'{"a": 1}', headers=(("x-k", key),) if key is not None else ())
        for offset, key in enumerate((b"k", b"\xff", b"", None))
    ]
    of = decoder(NUMBERS, mapping)
    assert rejected(of, records) == ["wrong_type"]
    (chunk,) = of.decode({P0: records}, EPOCH)
    assert [record.offset for record in chunk.records] == [0, 2, 3] and chunk.keys == {0: b"k", 1: b""}


def to_message_pack(document: Any) -> bytes:
    return msgspec.msgpack.encode(document)


CASES = 120


@cache
def decoders(signature: Signature, mapping: int, others: tuple[Signature, ...]) -> tuple[Decoder, Decoder]:
    made = [decoder(signature, MAPPINGS[mapping], others=others) for _ in range(2)]
    return made[0], exactly(made[1])


@pytest.mark.parametrize("kind", ["message-pack", "json", "mixed"])
def test_polls_by_columns_equal_single_documents(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_columns: list[Chunk] = []
    make = formatted_topic._chunk
    monkeypatch.setattr(
        formatted_topic, "_chunk", lambda *parts, **more: by_columns.append(make(*parts, **more)) or by_columns[-1]
    )
    for seed in range(CASES):
        draw = Random(f"{kind} {seed}")
        poll = []
        if kind != "json":
            poll += poll_of(draw, to_message_pack, MSGPACK)
        if kind != "message-pack":
            poll += poll_of(draw, to_json, ())
        draw.shuffle(poll)
        fast, exact = decoders(
            draw.choice(SIGNATURES), draw.randrange(len(MAPPINGS)), draw.choice([(), (UNNAMED, CATEGORIES)])
        )
        compare(poll, fast, exact)
    assert sum(chunk.num_rows for chunk in by_columns) > CASES // 4, "the fast path accepts events"
