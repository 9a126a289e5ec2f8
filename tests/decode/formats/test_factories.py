"""Formats whose library is missing are refused at start, with what to install."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import InputSection
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.schema_registry.store import SchemaStore
from tests.decode.formats.images import encoded, picture
from tests.formats.events import MIXED, events_of, wire_formats


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("avro", "fastavro", "avro"),
        ("protobuf", "google.protobuf", "protobuf"),
        ("json-schema", "jsonschema_rs", "json-schema"),
        ("arrow", "pyarrow", "arrow"),
        ("image", "PIL", "images"),
    ],
)
def test_a_missing_library_is_reported_with_its_extra(
    name: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = InputSection(formats={"features": name})  # type: ignore[dict-item]
    event_formats(section, prefix="")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"the format {name} needs a library") as failure:
        event_formats(section, prefix="")
    assert f"[{extra}]" in str(failure.value.remedy)


def test_a_registry_can_bring_every_format_with_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    event_formats(InputSection(), prefix="", schemas=SchemaStore())
    for library in ("fastavro", "jsonschema_rs"):
        monkeypatch.setitem(sys.modules, library, None)
    event_formats(InputSection(), prefix="")
    with pytest.raises(ConfigError) as failure:
        event_formats(InputSection(), prefix="", schemas=SchemaStore())
    assert "the format avro needs" in failure.value.message and "the format json-schema needs" in failure.value.message
    assert "extras avro and json-schema: pip install '.[avro,json-schema]'" in str(failure.value.remedy)


FIRST_RECORDS = """
import json, sys
from forebay.stream.config.sections import InputSection
from forebay.stream.core.rows import RowRecords
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.schema_registry.store import SchemaStore
from tests.decode.formats.images import encoded, picture
from tests.formats.events import MIXED, events_of, wire_formats
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import FakeRecord

given = json.load(sys.stdin)
records = [FakeRecord(0, bytes.fromhex(value), headers=[(n, c.encode()) for n, c in headers]) for value, headers in given[0]]
schemas = SchemaStore()
section = InputSection(formats={"a": "arrow", "i": "image", "m": "msgpack", "c": "cloudevents"})
formats = event_formats(section, prefix="", schemas=schemas)
before, decoded = set(sys.modules), []
for number, kind, text in given[1]:
    schemas.put(RegisteredSchema(SchemaRef(id=number), kind, text))
for record in records:
    choice = formats.choice.choose(record, "features")
    document = choice.format.document(record.value[choice.start:])
    if choice.format.name == "image":
        document["features"].row((3, 4, 5))
    elif choice.format.name == "arrow":
        ((rows_format, rows),), _ = choice.format.read([record], "features-0")
        rows_format.columns_of_rows(rows, [("f1",), ("timestamp",)])
        rows[0].value
    else:
        choice.format.columns([record.value] * 3, [("f1",), ("timestamp",), ("id",)], start=choice.start)
    decoded.append(choice.format.name)
print(json.dumps([decoded, sorted(set(sys.modules) - before)]))
"""


def test_no_first_record_imports_a_module() -> None:
    (event,) = events_of(MIXED, 1)
    wires: list[tuple[str, list[tuple[str, str]]]] = []
    schemas: list[tuple[int | None, str, str]] = []
    for name, wire_format in wire_formats(MIXED, first_id=1).items():
        if wire_format.schema is not None:
            schemas.append((wire_format.schema.ref.id, wire_format.schema.type, wire_format.schema.text))
        if not name.startswith("JSON ") or wire_format.schema is not None:
            wire = wire_format.encode(event)
            wires.append((wire.value.hex(), [(header, content.decode()) for header, content in wire.headers]))
    wires += [
        (encoded(picture(5, 4), kind).hex(), [("content-type", f"image/{kind.lower()}")])
        for kind in ("PNG", "JPEG", "WEBP")
    ]
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RECORDS], input=json.dumps([wires, schemas]), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    decoded, imported = json.loads(done.stdout)
    assert set(decoded) == {"msgpack", "cloudevents", "json", "arrow", "avro", "protobuf", "json-schema", "image"}
    assert imported == [], imported
