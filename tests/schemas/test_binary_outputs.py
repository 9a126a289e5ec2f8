"""The Avro and Protobuf schemas of output records, judged by other libraries and with the examples."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from google.protobuf import json_format

from forebay.schemas.binary_outputs import avro_text, binary_outputs, proto_numbers, record_name
from forebay.schemas.definitions import definitions
from forebay.schemas.examples import good_examples
from forebay.schemas.proto_types import numbered, proto_schema
from forebay.schemas.record_types import ArrayType, MapType, RecordField, RecordType, record_type
from tests.schemas.protoc import message_class

EXAMPLES = [example for example in good_examples() if example.schema in binary_outputs()]


def without_nulls(value: object) -> object:
    """Return a document without null fields, with few digits: how all formats say the same."""
    if isinstance(value, dict):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_avro_has_all_that_the_example_has(example: Any) -> None:
    schema, document = fastavro.parse_schema(json.loads(avro_text(example.schema))), json.loads(example.value)
    written = io.BytesIO()
    fastavro.schemaless_writer(written, schema, document, strict_allow_default=True)
    written.seek(0)
    read: Any = fastavro.schemaless_reader(written, schema, None)
    assert without_nulls(read) == without_nulls(document)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_protobuf_has_all_that_the_example_has(example: Any) -> None:
    message = message_class(example.schema)()
    document = json.loads(example.value)
    json_format.ParseDict(document, message)
    shown = json_format.MessageToDict(
        type(message).FromString(message.SerializeToString()), preserving_proto_field_name=True
    )
    # JSON of Protobuf has 64-bit integers as text, and leaves out zeros without presence.
    for path, value in leaves(document):
        assert_same(shown, path, value)
    assert type(message).DESCRIPTOR.full_name == record_name(example.schema)


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], object]]:
    if isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in leaves(part, (*path, name))]
    if isinstance(value, list):
        return [leaf for index, part in enumerate(value) for leaf in leaves(part, (*path, index))]
    return [(path, value)]


def assert_same(shown: Any, path: tuple[str | int, ...], value: object) -> None:
    for step in path:
        try:
            shown = shown[step]
        except (KeyError, IndexError):
            shown = None
            break
    if value is None or (shown is None and not value):
        assert shown is None, path
    elif isinstance(value, float):
        assert float(shown) == pytest.approx(value, rel=1e-6), path
    elif isinstance(value, int) and not isinstance(value, bool):
        assert int(shown) == value, path
    else:
        assert shown == value, path


def test_numbers_of_fields_never_change() -> None:
    before = RecordType("Thing", "", (field("a"), field("b"), field("c")))
    known = numbered(before, {})
    after = RecordType("Thing", "", (field("new"), field("c"), field("a")))
    assert numbered(after, known) == {"Thing": {"a": 1, "b": 2, "c": 3, "new": 4}}
    assert 'reserved 2; // "b"' in proto_schema(after, numbered(after, known))


def test_the_numbers_of_predictions_are_those_that_are_published() -> None:
    numbers = proto_numbers()["prediction"]
    assert (
        numbers["Prediction"]
        | {
            **dict(zip(("id", "model", "version", "prediction", "confidence", "class"), range(1, 7), strict=True)),
            **dict(zip(("label", "source", "window", "slices", "decision", "reason"), range(7, 13), strict=True)),
        }
        == numbers["Prediction"]
    )
    source = dict(zip(("topic", "partition", "offset", "timestamp"), range(1, 5), strict=True))
    assert numbers["PredictionSource"] | source == numbers["PredictionSource"]


def field(name: str) -> RecordField:
    return RecordField(name, "string", False, "")


def test_types_follow_the_json_schema() -> None:
    parsed = record_type(
        "Thing",
        {
            "required": ["n", "x"],
            "properties": {
                "n": {"type": ["integer", "null"]},
                "x": {"type": "number"},
                "list": {"type": "array", "items": {"type": "number", "format": "float"}},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "inner_thing": {"type": "object", "properties": {"on": {"type": "boolean"}}},
            },
        },
    )
    types = {part.name: (part.type, part.is_optional) for part in parsed.fields}
    inner = RecordType("ThingInnerThing", "", (RecordField("on", "boolean", True, ""),))
    assert types == {
        "n": ("integer", True),
        "x": ("float64", False),
        "list": (ArrayType("float32"), True),
        "map": (MapType("string"), True),
        "inner_thing": (inner, True),
    }


@pytest.mark.parametrize("schema", [{"type": ["string", "integer"]}, {"type": "object"}, {"enum": ["a", 1]}], ids=str)
def test_what_has_no_counterpart_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"type|counterpart"):
        record_type("Thing", {"properties": {"a": schema}})


def test_quality_stays_json_because_parts_of_it_have_no_fixed_fields() -> None:
    with pytest.raises(ValueError, match="counterpart"):
        record_type("Quality", definitions()["quality"])
