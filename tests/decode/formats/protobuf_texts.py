"""Protobuf schemas for tests, and their message classes as the library's own compiler makes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.decode.formats.protobuf_schema import message_class
from forebay.stream.schema_registry.schema import ReferencedSchema, RegisteredSchema, SchemaRef

ORDER = """
syntax = "proto3";
package shop;
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

message Order {
  string id = 1;
  google.protobuf.Timestamp created_at = 2;
  optional float discount = 3;
  double amount = 4;
  sint64 balance = 5;
  Status status = 6;
  User user = 7;
  repeated float embedding = 8;
  map<string, double> scores = 9;
  oneof payment {
    string card = 10;
    Iban iban = 11;
    int32 voucher = 12;
  }
  bytes image = 13;
  google.protobuf.Duration took = 14;
  google.protobuf.Int32Value rating = 15;
  google.protobuf.Struct extra = 16;
  repeated Item items = 17;
  bool express = 18;
  uint64 serial = 19;
  fixed32 crc = 20;
  sfixed64 offset = 21;
  repeated string tags = 22;
  int32 delta = 23;
  uint32 count = 3000;

  message User { string name = 1; optional int32 age = 2; Address address = 3; }
  message Address { string city = 1; float lat = 2; float lon = 3; }
  message Iban { string number = 1; }
  message Item { string sku = 1; int32 quantity = 2; google.protobuf.Timestamp added = 3; Item part = 4; }
  enum Status { UNKNOWN = 0; PAID = 1; SHIPPED = 2; LOST = -1; }
}
"""

OLD_ORDER = """
syntax = "proto2";
message OldOrder {
  required int32 id = 1;
  optional string note = 2 [default = "none"];
  optional Kind kind = 3 [default = GIFT];
  repeated double plain = 4;
  repeated double packed = 5 [packed = true];
  optional group Box = 6 { optional int32 width = 1; repeated int32 sides = 2; }
  map<int32, Kind> kinds = 7;
  extensions 100 to 199;
  enum Kind { NO_KIND = 0; GIFT = 1; SALE = 2; }
}
extend OldOrder { optional int32 bonus = 100; }
"""


def schema(text: str, **references: str) -> RegisteredSchema:
    """Return a registered schema. references: texts of `NAME.proto`."""
    referenced = tuple(ReferencedSchema(f"{name}.proto", name, 1, content) for name, content in references.items())
    return RegisteredSchema(SchemaRef(id=1), "PROTOBUF", text, referenced)


def protobuf_format(text: str, indexes: Sequence[int] = (0,)) -> ProtobufFormat:
    """Return a format that reads any number of payloads in columns."""
    return ProtobufFormat(schema(text), indexes, reads_few_at_once=True)


def class_of(text: str, indexes: Sequence[int] = (0,)) -> Any:
    """Return a message class, to write payloads with."""
    return message_class(schema(text), indexes)


def compile_with_protoc(text: str, folder: Path) -> descriptor_pb2.FileDescriptorProto:
    """Return the descriptor of a schema as the library's own compiler makes it."""
    import grpc_tools

    (folder / "schema.proto").write_text(text)
    arguments = [
        f"-I{folder}",
        f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
        f"--descriptor_set_out={folder / 'out'}",
    ]
    compiler = [sys.executable, "-m", "grpc_tools.protoc"]
    subprocess.run([*compiler, *arguments, str(folder / "schema.proto")], check=True)
    return descriptor_pb2.FileDescriptorSet.FromString((folder / "out").read_bytes()).file[0]


def pool_with(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pool.DescriptorPool:
    """Return a pool with a file and the well-known types."""
    pool = descriptor_pool.DescriptorPool()
    for name in file.dependency:
        known = descriptor_pool.Default().FindFileByName(name)
        for needed in (*known.dependencies, known):
            pool.AddSerializedFile(needed.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def get_class(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
