from __future__ import annotations

import pytest

from forebay.stream.schema_registry.same_schema import is_same_schema
from forebay.stream.schema_registry.schema import SchemaType

PROTO = 'syntax = "proto3"; message M { string url = 1 [default = "http://x"]; }'


@pytest.mark.parametrize(
    ("schema_type", "one", "other", "same"),
    [
        ("AVRO", '{"type": "record", "doc": "a", "name": "R"}', '{"name":"R","type":"record"}', True),
        ("AVRO", '{"fields": [{"name": "a", "doc": "x"}]}', '{"fields": [{"name": "a"}]}', True),
        ("AVRO", '{"fields": [{"name": "a"}]}', '{"fields": [{"name": "b"}]}', False),
        ("AVRO", "not JSON", "not JSON", True),
        ("AVRO", "not JSON", "{}", False),
        ("JSON", '{"type": "object"}', '{"type": "string"}', False),
        ("PROTOBUF", PROTO, 'syntax="proto3";\nmessage M { // c\n /* d\n */ string url=1[default="http://x"];}', True),
        ("PROTOBUF", PROTO, PROTO.replace("//x", "//y"), False),
        ("PROTOBUF", PROTO, PROTO.replace("= 1", "= 2"), False),
    ],
)
def test_comments_and_layout_do_not_count(schema_type: SchemaType, one: str, other: str, same: bool) -> None:
    assert is_same_schema(schema_type, one, other) is same
