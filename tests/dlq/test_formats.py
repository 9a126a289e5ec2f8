"""Dead letters of events in other formats: they are shown as documents, and a replay gives the identical record."""

from __future__ import annotations

import msgspec
import orjson
import pytest
from rich.console import Console

from forebay.stream.decode.value_reader import ReadValue
from forebay.stream.dlq.render import dead_letter_text
from forebay.stream.dlq.replay_plan import replay_headers
from forebay.stream.schema_registry.framing import VALUE_SCHEMA_HEADER, frame
from forebay.stream.schema_registry.schema import SchemaRef
from tests.dlq.build import make_dead_letter

GUID = b"\1" + bytes(range(16))
EVENTS: list[tuple[bytes, list[tuple[str, bytes]]]] = [
    (frame(7, b"\x08\x05", (1, 2)), []),
    (b"\x02\xff\x00", [(VALUE_SCHEMA_HEADER, GUID), ("other", b"\xfe")]),
    (msgspec.msgpack.encode({"a": 5}), [("content-type", b"application/msgpack")]),
    (b'{"a": 5}', [("ce_specversion", b"1.0"), ("ce_id", b"e"), ("ce_id", b"twice"), ("Content-Type", b"x/y")]),
]


@pytest.mark.parametrize(("value", "headers"), EVENTS)
def test_a_replay_gives_the_identical_record(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    letter = make_dead_letter(value=value, headers=headers, key=b"\0k")
    replayed = replay_headers(letter, 1)
    assert (letter.key, letter.value) == (b"\0k", value)
    assert [header for header in replayed if not header[0].startswith("forebay.replay.")] == headers


def shown(read: ReadValue | None, value: bytes) -> str:
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(dead_letter_text(make_dead_letter(value=value), max_bytes=1000, read=read))
    return capture.get()


def test_what_can_be_read_is_shown_as_a_document_and_the_rest_as_bytes_with_the_reason() -> None:
    value = frame(7, b"\x0a")
    read = ReadValue({"a": 5, "b": b"x"}, "avro", SchemaRef(id=7))
    text = shown(read, value)
    assert "6 bytes, avro with the schema id 7" in text and '"a": 5' in text and '"b": "eA=="' in text
    unread = ReadValue(None, schema=SchemaRef(id=7), reason="the schema is\nunknown")
    text = shown(unread, value)
    assert "00 00 00 00 07 0a" in text and "the schema is" in text and "unread" in text
    assert "unread" not in shown(ReadValue(None, reason="not JSON: it ends"), b"{oh")


def test_the_json_of_a_dead_letter_has_the_document_or_the_bytes_with_the_reason() -> None:
    letter = make_dead_letter(value=frame(7, b"\x0a"))
    document = orjson.loads(letter.to_json(ReadValue({"a": 5}, "avro", SchemaRef(id=7))))
    assert (document["value"], document["format"], document["schema"]) == ({"a": 5}, "avro", "id 7")
    document = orjson.loads(letter.to_json(ReadValue(None, schema=SchemaRef(id=7), reason="unknown")))
    assert (document["value"], document["value_base64"], document["unread"]) == (None, "AAAAAAcK", "unknown")
    assert orjson.loads(letter.to_json(ReadValue({"x": 1})))["value_base64"] == "AAAAAAcK"
