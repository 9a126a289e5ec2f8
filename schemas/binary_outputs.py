"""The output records that can also be written in Avro and Protobuf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from forebay.schemas.aggregates import alert, error_aggregate
from forebay.schemas.avro_types import NAMESPACE, avro_schema
from forebay.schemas.outputs import prediction
from forebay.schemas.proto_types import Numbers, numbered, proto_schema
from forebay.schemas.record_types import RecordType, record_type

NUMBERS_FILE: Final = Path(__file__).parent / "proto" / "numbers.json"


def binary_outputs() -> Mapping[str, RecordType]:
    """Return the types of the records by the name of their JSON Schema."""
    return MappingProxyType(
        {
            "prediction": record_type("Prediction", prediction()),
            "error-aggregate": record_type("ErrorAggregate", error_aggregate()),
            "alert": record_type("Alert", alert()),
        }
    )


def record_name(output: str) -> str:
    """Return the full name of a record in Avro, and of its message in Protobuf."""
    return f"{NAMESPACE}.{binary_outputs()[output].name}"


def avro_text(output: str) -> str:
    """Return the Avro schema of an output record."""
    return avro_schema(binary_outputs()[output])


def proto_text(output: str) -> str:
    """Return the Protobuf schema of an output record."""
    return proto_schema(binary_outputs()[output], proto_numbers()[output])


def proto_numbers() -> dict[str, dict[str, dict[str, int]]]:
    """Return the numbers of the fields in Protobuf, by output record, record and field."""
    found: dict[str, Numbers] = json.loads(NUMBERS_FILE.read_text(encoding="utf-8")) if NUMBERS_FILE.exists() else {}
    return {name: numbered(record, found.get(name, {})) for name, record in binary_outputs().items()}
