"""Protobuf schemas: the parser against the library's own compiler, imports, message indexes, and hostile texts."""

from __future__ import annotations

import base64
import importlib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.decode.formats.protobuf_schema import UnsupportedSchema, message_class
from forebay.stream.decode.formats.protobuf_text import parse_schema
from forebay.stream.decode.formats.protobuf_tokens import InvalidSchemaText
from tests.decode.formats import protobuf_texts
from tests.decode.formats.protobuf_texts import class_of, pool_with, schema

HARD = r"""
// a comment
syntax = "proto2"; package a.b; /* another { */
import "google/protobuf/timestamp.proto"; import public "google/protobuf/descriptor.proto";
option java_package = "x" 'y\n\x41\101';
extend google.protobuf.FieldOptions { optional string foo = 50000; repeated group Gr = 50001 { optional int32 x = 1; } }
message Outer {
  option deprecated = true;
  reserved 5, 7 to 9, 1000 to max; reserved "bar";
  extensions 100 to 199;
  required int32 id = 1 [default = -1, (foo) = "];", (gr) = { x: 1 }];
  optional group Res = 2 { optional string url = 1; repeated group Deep = 3 { required bool b = 1; } }
  message Inner {
    enum Kind { A = 0; B = 0x10; C = -3; }
    optional Kind e = 1; optional Outer o = 2; optional .a.b.Other t = 3; optional b.Other q = 4;
  }
  map<string, Inner.Kind> snake_case_map = 12; map<int32, Inner> m2 = 13;
  oneof pick { string s = 20; Inner inner = 21; group Gg = 22 { optional int32 v = 1; } }
  repeated float packed_f = 30 [packed = true]; repeated double un = 31;
  optional string j = 32 [json_name = "weird name"]; optional google.protobuf.Timestamp optional = 33;
  optional message_ message = 34; optional int32 map = 35; optional string syntax = 36 [default = "a\"b"];
  enum Al { option allow_alias = true; X = 1; Y = 1 [deprecated = true]; reserved 5; }
  optional Al repeated_x = 016;
  ;
}
message message_ {}
message Other { extend Outer { optional int32 ext = 100; } }
service S { rpc F(Outer) returns (stream Other) { option deprecated = true; } rpc G(Other) returns (Other); }
"""

PROTO3 = """
syntax = "proto3"; package p.q;
message A {
  optional int32 x = 1; oneof o { B b = 2; int64 c = 3; } optional B bb = 4;
  message B { E e = 1; optional .p.q.A a = 2; q.A z = 3; }
  enum E { U = 0; V = 1; }
  repeated E es = 5; repeated int32 u = 6 [packed = false]; map<string, B> in_map = 7;
}
"""

EDITION = """
edition = "2023"; package e; option features.field_presence = IMPLICIT;
message M {
  float a = 1; string s = 2 [features.field_presence = EXPLICIT];
  repeated int32 r = 3 [features.repeated_field_encoding = EXPANDED];
  N n = 4 [features.message_encoding = DELIMITED];
  E e = 5 [features.field_presence = EXPLICIT]; map<bool, N> q = 6;
}
message N { int32 v = 1; }
enum E { option features.enum_type = CLOSED; A = 0; B = 1; }
"""


def describe(descriptor: Any) -> Any:
    """Return what matters for decoding of a message type, with all names resolved."""
    fields = [
        (
            *(field.name, field.number, field.type, field.json_name, field.has_presence, field.is_repeated),
            *(field.is_packed, field.message_type and field.message_type.full_name),
            *(field.enum_type and field.enum_type.full_name, field.containing_oneof and field.containing_oneof.name),
        )
        for field in descriptor.fields
    ]
    enums = [([(value.name, value.number) for value in enum.values], enum.is_closed) for enum in descriptor.enum_types]
    is_map_entry = descriptor.GetOptions().map_entry
    return descriptor.full_name, fields, enums, [describe(nested) for nested in descriptor.nested_types], is_map_entry


def describe_file(file: descriptor_pb2.FileDescriptorProto) -> Any:
    types = pool_with(file).FindFileByName(file.name).message_types_by_name
    return [describe(message) for message in types.values()]


@pytest.mark.parametrize("text", [HARD, PROTO3, EDITION, protobuf_texts.ORDER, protobuf_texts.OLD_ORDER])
def test_texts_mean_the_same_as_for_the_compiler(text: str, tmp_path: Path) -> None:
    compiled = protobuf_texts.compile_with_protoc(text, tmp_path)
    assert describe_file(parse_schema(text, "schema.proto")) == describe_file(compiled)


def test_published_schemas_mean_the_same_as_their_generated_descriptors() -> None:
    site = Path(descriptor_pb2.__file__).parents[2]
    paths = [*sorted(site.glob("google/type/*.proto")), *sorted(site.glob("google/rpc/*.proto"))]
    assert len(paths) > 15
    for path in paths:
        name = str(path.relative_to(site))
        generated = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2").DESCRIPTOR
        if set(file.name for file in generated.dependencies) <= {"google/protobuf/any.proto"}:
            expected = [describe(message) for message in generated.message_types_by_name.values()]
            assert describe_file(parse_schema(path.read_text(), name)) == expected, name


def test_a_serialised_descriptor_is_accepted_as_a_schema() -> None:
    file = parse_schema(PROTO3, "x.proto")
    encoded = base64.b64encode(file.SerializeToString()).decode()
    assert describe(class_of(encoded).DESCRIPTOR) == describe(class_of(PROTO3).DESCRIPTOR)


def test_extensions_of_a_serialised_descriptor_are_unknown_fields() -> None:
    file = parse_schema('syntax = "proto2"; message A { optional int32 x = 1; }', "x.proto")
    file.message_type[0].extension_range.add(start=100, end=200)
    field = file.extension.add(name="more", number=100, label=1, type=9, extendee=".A")
    assert field.extendee and file.service.add(name="S")
    encoded = base64.b64encode(file.SerializeToString()).decode()
    assert ProtobufFormat(schema(encoded)).document(b"\x08\x01\xa2\x06\x01a") == {"x": 1}
    file.message_type[0].options.message_set_wire_format = True
    with pytest.raises(InvalidPayload, match="message_set_wire_format"):
        ProtobufFormat(schema(base64.b64encode(file.SerializeToString()).decode()))


def test_imports_are_references_and_well_known_types() -> None:
    money = 'syntax = "proto3"; package money; message Money { int64 cents = 1; }'
    user = 'syntax = "proto3"; import "money.proto"; import "confluent/meta.proto"; message User { money.Money worth = 1; }'
    text = (
        'syntax = "proto3"; import public "user.proto"; import "google/protobuf/timestamp.proto";'
        'import "confluent/type/decimal.proto"; import "validate/options.proto";'
        "message Event { User user = 1; google.protobuf.Timestamp at = 2; confluent.type.Decimal price = 3; }"
    )
    message = message_class(schema(text, money=money, user=user), [0]).DESCRIPTOR
    assert [field.message_type.full_name for field in message.fields] == [
        "User",
        "google.protobuf.Timestamp",
        "confluent.type.Decimal",
    ]


NESTED = "message A { message B { message C {} } map<string, int32> m = 1; message E {} message F {} } message D {}"


@pytest.mark.parametrize(
    ("indexes", "name"),
    [((0,), "A"), ((1,), "D"), ((0, 0), "A.B"), ((0, 0, 0), "A.B.C"), ((0, 1), "A.E"), ((0, 3), "A.F")],
)
def test_message_indexes_count_types_with_or_without_map_entries(indexes: tuple[int, ...], name: str) -> None:
    """[0, 1] is possible only for Java, and [0, 3] only for other libraries."""
    assert class_of(NESTED, indexes).DESCRIPTOR.full_name == name


def test_message_indexes_that_two_libraries_mean_differently_are_refused() -> None:
    with pytest.raises(UnsupportedSchema, match=r"\[0, 2\] are A.F for Confluent's Java library and A.E for its other"):
        class_of(NESTED, (0, 2))
    descriptor = base64.b64encode(parse_schema(NESTED, "x.proto").SerializeToString()).decode()
    assert class_of(descriptor, (0, 2)).DESCRIPTOR.full_name == "A.E", "Java registers texts only"


@pytest.mark.parametrize(
    ("text", "indexes", "said"),
    [
        ("message A {}", (1,), "no message type with the indexes [1]"),
        ("message A {}", (0, 0), "no message type with the indexes [0, 0]"),
        ("", (0,), "no message type"),
        ("message A { Missing x = 1; }", (0,), "couldn't resolve name 'Missing'"),
        ('import "gone.proto"; message A { gone.G x = 1; }', (0,), "imports without a reference: gone.proto"),
        ("message A { int32 x = 1; int32 x = 2; }", (0,), "x"),
        ("message A { int32 x = 1; string y = 1; }", (0,), "duplicate"),
        ("message A {\n int32 x = ;\n}", (0,), "line 2: an integer of 32 bits is expected, found ';'"),
        ("message A {", (0,), "is expected"),
        ('syntax = "proto4";', (0,), "syntax 'proto4' is not known"),
        ("message A { int32 x = 99999999999999999999999; }", (0,), "an integer of 32 bits"),
        ("message A { option message_set_wire_format = true; }", (0,), "not supported"),
        ('import "a.proto"; message A {}', (0,), "imports a.proto, which imports it"),
        ("message A { § }", (0,), "line 1: unexpected '§ }'"),
    ],
)
def test_schemas_that_cannot_be_used_are_refused_with_the_reason(
    text: str, indexes: tuple[int, ...], said: str
) -> None:
    with pytest.raises(InvalidPayload) as refused:
        ProtobufFormat(schema(text, a='import "a.proto";'), indexes)
    assert refused.value.kind is FailureKind.UNSUPPORTED_SCHEMA
    assert said in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"message M{index} {{" for index in range(2000)),
        "message A { int32 x = 1 [(o) = " + "{" * 20_000,
        'option x = "' + "\\a" * 100_000,
        "/*" + "*" * 300_000,
        "message A { int32 x = " + "9" * 100_000 + "; }",
        "message A { " + "." * 100_000,
        '"' * 100_000,
        "a." * 250_000,
        "\0",
        "x" * (1 << 21),
        'import "/etc/passwd"; import "../../etc/passwd"; message A { root.x y = 1; }',
    ],
    ids=lambda text: text[:12],
)
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(UnsupportedSchema):
        message_class(schema(text), [0])


def test_nesting_has_a_limit() -> None:
    depth = 32
    parse_schema("".join(f"message M{index} {{" for index in range(depth)) + "}" * depth, "x")
    with pytest.raises(InvalidSchemaText, match="nested more than 32 levels deep"):
        parse_schema("".join(f"message M{index} {{" for index in range(depth + 1)), "x")
