"""JSON that is validated by the schema of its writer."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.json_schema import JsonSchemaFormat
from forebay.stream.decode.formats.payload import FieldRoles, InvalidPayload
from forebay.stream.schema_registry.schema import ReferencedSchema, RegisteredSchema, SchemaRef

USER = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}
EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "amount": {"type": ["number", "null"]},
        "user": USER,
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["id", "amount"],
}
GOOD = {"id": "a", "amount": 2.5, "user": {"age": 7}}


def schema(document: Any = EVENT, **more: Any) -> RegisteredSchema:
    text = document if isinstance(document, str) else json.dumps(document)
    return RegisteredSchema(SchemaRef(id=7), "JSON", text, **more)


def fault(made: JsonSchemaFormat, payload: bytes) -> InvalidPayload:
    with pytest.raises(InvalidPayload) as caught:
        made.document(payload)
    return caught.value


def refused(document: Any, **more: Any) -> str:
    with pytest.raises(InvalidPayload) as caught:
        JsonSchemaFormat(schema(document, **more))
    assert caught.value.kind is FailureKind.UNSUPPORTED_SCHEMA
    return caught.value.message


def test_a_valid_event_is_a_document() -> None:
    made = JsonSchemaFormat(schema())
    assert made.document(json.dumps(GOOD).encode()) == GOOD
    assert made.name == "json-schema" and made.has_schema


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        (b"{", FailureKind.NOT_JSON, "unexpected end"),
        (b"[]", FailureKind.NOT_AN_OBJECT, "the value is"),
        ({"id": "a"}, FailureKind.INVALID_PAYLOAD, 'the event: "amount" is a required property'),
        (GOOD | {"amount": "2"}, FailureKind.INVALID_PAYLOAD, 'at amount: "2" is not of types'),
        (GOOD | {"user": {"age": -1}}, FailureKind.INVALID_PAYLOAD, "at user/age: -1 is less than the minimum of 0"),
        (GOOD | {"tags": ["a", 1]}, FailureKind.INVALID_PAYLOAD, "at tags/1: 1 is not of type"),
    ],
)
def test_an_invalid_event_is_rejected_with_the_place(event: Any, kind: FailureKind, words: str) -> None:
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    error = fault(JsonSchemaFormat(schema()), payload)
    assert error.kind is kind and words in error.message


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(fault(JsonSchemaFormat(schema()), json.dumps(GOOD | {"amount": "x\n" * 9_000}).encode()).message) <= 300


def test_columns_of_a_poll() -> None:
    made = JsonSchemaFormat(schema())
    events = [GOOD, GOOD | {"amount": None}, {"id": "b"}, GOOD | {"amount": 3}]
    values = [b"\0\0\0\0\7" + json.dumps(event).encode() for event in events]
    parsed = made.columns([*values, b"\0\0\0\0\7{"], [("amount",), ("user", "age")], start=5)
    assert parsed is not None and parsed.suspects_B.tolist() == [False, False, True, False, True]
    amount = parsed.columns["amount",]
    assert np.asarray(amount.values)[[0, 3]].tolist() == [2.5, 3] and amount.missing_B is not None
    assert amount.missing_B[[0, 1, 3]].tolist() == [False, True, False]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("a\n", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "amount", "user", "age", "tags"]), inner)
    ),
    max_leaves=8,
)


@given(st.lists(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=6), max_size=4))
def test_the_fast_path_accepts_exactly_what_the_exact_one_does(payloads: list[bytes]) -> None:
    made = JsonSchemaFormat(schema())
    parsed = made.columns(payloads, [("id",)], start=0)
    assert parsed is not None
    for payload, is_suspect in zip(payloads, parsed.suspects_B, strict=True):
        try:
            made.document(payload)
        except InvalidPayload:
            assert is_suspect
        else:
            assert not is_suspect


def test_of_references_with_names_that_end_alike_the_named_one_is_used() -> None:
    references = tuple(
        ReferencedSchema(name, name, 1, json.dumps({"type": kind}))
        for name, kind in (("b.json", "string"), ("x/b.json", "integer"))
    )
    for name, value in (("b.json", "text"), ("x/b.json", 1)):
        made = JsonSchemaFormat(schema({"properties": {"a": {"$ref": name}}}, references=references))
        assert made.document(json.dumps({"a": value}).encode()) == {"a": value}


def test_references_of_the_registry_are_resolved() -> None:
    event = {"properties": {"user": {"$ref": "user.json"}}, "required": ["user"]}
    made = JsonSchemaFormat(schema(event, references=(ReferencedSchema("user.json", "user", 1, json.dumps(USER)),)))
    assert made.document(b'{"user": {"age": 1}}')
    assert "at user/age" in fault(made, b'{"user": {"age": -1}}').message


@pytest.mark.parametrize(
    "uri", ["user.json", "http://127.0.0.1:1/user.json", "file:///etc/hostname", "https://json.schemastore.org/package"]
)
def test_nothing_is_fetched(uri: str) -> None:
    assert "is not present in a registry" in refused({"properties": {"user": {"$ref": uri}}})


@pytest.mark.parametrize(
    "document", ["{", "7", '{"type": "nonsense"}', '{"$schema": "http://nowhere/"}', '{"pattern": "("}']
)
def test_an_unusable_schema_is_refused(document: str) -> None:
    assert "id 7" in refused(document)


def test_rules_are_refused_by_name() -> None:
    assert "TRANSFORM encryptPII" in refused(EVENT, rules=("TRANSFORM encryptPII (ENCRYPT)",))


def test_a_schema_without_a_draft_is_of_draft_7() -> None:
    # Later drafts take `items` as one schema for all items.
    made = JsonSchemaFormat(schema({"properties": {"pair": {"items": [{"type": "string"}, {"type": "number"}]}}}))
    assert made.document(b'{"pair": ["a", 1]}')
    assert "at pair/1" in fault(made, b'{"pair": ["a", "b"]}').message


@pytest.mark.parametrize(
    "document",
    [{"$ref": "#"}, {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "anyOf": [{"$ref": "#"}, True]}],
)
def test_a_schema_that_refers_to_itself_takes_any_event(document: Any) -> None:
    deep = b'{"a":' * 60 + b"1" + b"}" * 60
    assert JsonSchemaFormat(schema(document)).document(deep)


def test_deep_events_are_rejected() -> None:
    made = JsonSchemaFormat(schema({}))
    for depth, is_valid in ((64, True), (65, False)):
        payload = b'{"a":' * depth + b"1" + b"}" * depth
        parsed = made.columns([payload, b'{"a": [' + b"[]," * 99 + b"1]}"], [], start=0)
        assert parsed is not None and parsed.suspects_B.tolist() == [not is_valid, False]
        if is_valid:
            made.document(payload)
        else:
            assert "64 levels" in fault(made, payload).message


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|aa)*b$", r"(a*)*(a*)*c", r"(a|b)*a(a|b){100}c"])
def test_the_time_of_a_pattern_is_linear_in_the_length_of_the_text(pattern: str) -> None:
    made = JsonSchemaFormat(schema({"properties": {"text": {"pattern": pattern}}}))
    started_s = time.process_time()
    assert "at text" in fault(made, json.dumps({"text": "a" * 50_000 + "!"}).encode()).message
    assert time.process_time() - started_s < 1.0  # with backtracking, 17 seconds


@pytest.mark.parametrize("pattern", ["^(?=a)b", "(?!a)b", "(?<=a)b", r"(a)\1", "^(a{1000}){1000}$"])
def test_a_pattern_that_cannot_be_matched_in_linear_time_is_refused_by_name(pattern: str) -> None:
    text = {"pattern": pattern}
    for document, place in (
        ({"properties": {"user": text}}, "properties/user/pattern"),
        ({"propertyNames": text}, "propertyNames/pattern"),
        ({"patternProperties": {pattern: True}}, f"patternProperties/{pattern}"),
    ):
        message = refused(document)
        assert f"the pattern {pattern!r} at {place} needs look-ahead" in message and "too large" in message


def test_properties_that_are_called_pattern_are_allowed() -> None:
    JsonSchemaFormat(
        schema({"properties": {"pattern": {"type": "string", "pattern": "^a+$"}, "patternProperties": {}}})
    )
    assert "look-ahead" not in refused({"properties": {"pattern": {"type": "nonsense"}}})


def test_keywords_of_properties_name_features_and_roles() -> None:
    document = {
        "definitions": {"user": {"properties": {"age": {"x-forebay-feature": ["age", "years"]}}}},
        "properties": {
            "key/id": {"x-forebay-role": "id"},
            "user": {"$ref": "#/definitions/user"},
            "when": {"x-forebay-role": "timestamp", "type": "integer"},
        },
    }
    assert JsonSchemaFormat(schema(document)).roles == FieldRoles(
        {"age": ("user", "age"), "years": ("user", "age")}, {"id": ("key/id",), "timestamp": ("when",)}
    )


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"a": {"x-forebay-role": "owner"}}, "'owner'; the roles are"),
        ({"a": {"x-forebay-feature": 7}}, "a name is expected"),
        ({"a": {"x-forebay-role": "id"}, "b": {"x-forebay-role": "id"}}, "a and b both have x-forebay-role 'id'"),
    ],
)
def test_keywords_that_contradict_are_refused(properties: Any, words: str) -> None:
    assert words in refused({"properties": properties})


def test_an_invalid_event_of_a_schema_within_itself_is_rejected_in_bounded_memory() -> None:
    """With the place, the errors of all branches of 16 levels would take gigabytes."""
    node = {"$ref": "#/definitions/node"}
    branches = [{"properties": {"kind": {"const": kind}, "child": node}, "required": ["kind"]} for kind in "ab"]
    made = JsonSchemaFormat(schema({**node, "definitions": {"node": {"oneOf": branches}}}))
    for depth, words in ((3, "is not valid under any"), (16, "no place is named")):
        payload = '{"kind": "a", "child": ' * depth + '{"kind": "c"}' + "}" * depth
        assert words in fault(made, payload.encode()).message
        assert made.document(payload.replace('"c"', '"b"').encode())["kind"] == "a"
