"""In which format payloads may be that are not JSON."""

from __future__ import annotations

import msgspec
import pytest

from forebay.stream.tables.payload_guess import guess_payloads


@pytest.mark.parametrize(
    ("value", "format", "what", "remedy"),
    [
        (msgspec.msgpack.encode({"a": 1}), "msgpack", "MessagePack", ""),
        (b"\0\0\0\0\x07rest", None, "schema registry", "schema_registry.urls"),
        (b"\xc3\x01" + bytes(8), None, "Avro single objects", "input.avro_schemas"),
        (b"Obj\x01rest", "avro", "Avro object containers", ""),
        (b"ARROW1\0\0", "arrow", "Arrow IPC", ""),
        (b"\xff\xd8\xff\xe0", None, "images", "input.format=image"),
        (b"<order/>", None, "XML", "JSON"),
        (b"1,2,3", None, "CSV", "forebay publish"),
        (b"a\tb", None, "CSV", "forebay publish"),
        (b"hello", None, "no format", "input.format"),
        (b"\x93\x01\x02\x03", None, "no format", "input.format"),
    ],
)
def test_guesses(value: bytes, format: str | None, what: str, remedy: str) -> None:
    guess = guess_payloads([value])
    assert guess.format == format
    assert what in guess.what and remedy in guess.remedy


def test_values_of_one_length_may_be_raw_numbers() -> None:
    assert "4 raw float32" in guess_payloads([bytes(range(1, 17)), bytes(range(2, 18))]).what


def test_nothing_to_look_at() -> None:
    assert guess_payloads([b""]).format is None
