"""The columnar path of Avro gives what fastavro gives, for random schemas, values, versions of schemas and damaged bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.payload import InvalidPayload, ParsedColumns, Path
from tests.decode.formats.avro_schemas import at_path, evolved, from_column, paths, payloads, same, schemas

PREFIX = b"\0\0\0\0\7"

property_test = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def document_of(avro: AvroFormat, payload: bytes) -> dict[str, object] | None:
    try:
        return avro.document(payload)
    except InvalidPayload:
        return None


def check(avro: AvroFormat, encoded: Sequence[bytes], asked: Sequence[Path]) -> ParsedColumns | None:
    """Compare the columns with the documents. Return the columns."""
    parsed = avro.columns([PREFIX + payload for payload in encoded], asked, start=len(PREFIX))
    if parsed is None:
        return None
    assert list(parsed.columns) == list(dict.fromkeys(asked))
    for row, payload in enumerate(encoded):
        if parsed.suspects_B[row]:
            continue
        document = document_of(avro, payload)
        assert document is not None, (row, payload)
        for path, column in parsed.columns.items():
            assert same(from_column(column, row), at_path(document, path)), (row, path, column, document)
    return parsed


def check_all(avro: AvroFormat, encoded: Sequence[bytes], every_path: Sequence[Path]) -> ParsedColumns:
    """Compare the columns of each path, and those of all paths that have columns, with the documents."""
    asked = [path for path in every_path if check(avro, encoded, [path]) is not None]
    parsed = check(avro, encoded, asked)
    if parsed is None:  # paths may exclude each other: a record and its fields
        parsed = check(avro, encoded, [])
    assert parsed is not None
    return parsed


def has_variable_parts(schema: Any) -> bool:
    return any(kind in json.dumps(schema) for kind in ('"array"', '"map"'))


@property_test
@given(st.data())
def test_columns_are_those_of_the_documents(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    encoded = data.draw(payloads(schema))
    avro = AvroFormat(json.dumps(schema))
    parsed = check_all(avro, encoded, paths(schema))
    none_asked = check(avro, encoded, [])
    assert none_asked is not None
    if not has_variable_parts(schema):
        assert not parsed.suspects_B.any() and not none_asked.suspects_B.any()


@property_test
@given(st.data())
def test_a_readers_schema_is_resolved_as_fastavro_resolves_it(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    reader = data.draw(evolved(schema))
    encoded = data.draw(payloads(schema))
    try:
        avro = AvroFormat(json.dumps(schema), json.dumps(reader))
    except InvalidPayload:
        plain = AvroFormat(json.dumps(schema))
        assert plain is not None
        return
    parsed = check_all(avro, encoded, paths(reader))
    if not has_variable_parts(schema):
        for row, payload in enumerate(encoded):
            assert parsed.suspects_B[row] == (document_of(avro, payload) is None)


@property_test
@given(st.data())
def test_damaged_payloads_are_suspects_or_as_in_the_document(data: st.DataObject) -> None:
    schema = data.draw(schemas(max_depth=2))
    encoded = data.draw(payloads(schema))
    damaged = [data.draw(damages(payload)) for payload in encoded]
    avro = AvroFormat(json.dumps(schema))
    check_all(avro, damaged, paths(schema))


@st.composite
def damages(draw: st.DrawFn, payload: bytes) -> bytes:
    """Return a payload that is truncated, longer, or has other bytes."""
    at = draw(st.integers(0, len(payload)))
    match draw(st.sampled_from(["same", "truncated", "longer", "changed", "changed", "inserted"])):
        case "truncated":
            return payload[:at]
        case "longer":
            return payload + draw(st.binary(min_size=1, max_size=3))
        case "changed":
            return payload[:at] + bytes([draw(st.integers(0, 255))]) + payload[at + 1 :]
        case "inserted":
            return payload[:at] + draw(st.binary(min_size=1, max_size=11)) + payload[at:]
    return payload
