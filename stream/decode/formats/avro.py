"""Avro: payloads of one writer's schema, exactly by fastavro, and whole polls by a columnar plan of our own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from io import BytesIO
from typing import Final

from fastavro import schemaless_reader

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.features import describe
from forebay.stream.decode.formats.avro_check import AvroChecker
from forebay.stream.decode.formats.avro_plan import Plan, compile_plan
from forebay.stream.decode.formats.avro_resolution import check_resolvable, convert_defaults
from forebay.stream.decode.formats.avro_roles import schema_mapping
from forebay.stream.decode.formats.avro_schema import AvroSchema, parse_avro_schema, unsupported
from forebay.stream.decode.formats.payload import FieldRoles, InvalidPayload, ParsedColumns, Path
from forebay.stream.schema_registry.schema import RegisteredSchema

MAX_PLANS: Final = 32
"""Limit of the plans that are kept for a schema, one for each sequence of paths."""


class AvroFormat:
    """Payloads that were written with one schema.

    schema: the writer's, or the text of one that is not in a registry. Raises InvalidPayload if it cannot be used.
    reader: the text of the schema to read them as, with the writer's schema resolved to it as Avro specifies.
    """

    name: Final = "avro"
    has_schema: Final = True

    def __init__(self, schema: RegisteredSchema | str, reader: str | None = None) -> None:
        self.writer = writer = parse_avro_schema(schema) if isinstance(schema, str) else _registered(schema)
        self.reader = None if reader is None else parse_avro_schema(reader, is_reader=True)
        if self.reader is not None:
            convert_defaults(self.reader.parsed_types, self.reader.types)
            check_resolvable(writer.root, self.reader.root)
        shown = (self.reader or writer).root
        if shown.kind not in ("record", "union"):
            raise unsupported(f"the Avro schema is of the type {shown.describe()}; a record is expected")
        self.roles: FieldRoles = schema_mapping(shown)
        self._checker = AvroChecker(writer.root)
        self._lock = threading.Lock()
        self._plans: OrderedDict[tuple[Path, ...], Plan | None] = OrderedDict()

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the payload as nested Python values. Raises only InvalidPayload."""
        self._checker.check(payload)
        try:
            value = schemaless_reader(
                BytesIO(payload), self.writer.parsed, None if self.reader is None else self.reader.parsed
            )
        except Exception as error:  # what the check finds valid fails only where the reader's schema cannot take it
            message = f"the payload cannot be read as its schema says: {type(error).__name__}: {error}"
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, " ".join(message.split())[:400]) from None
        if not isinstance(value, dict):
            raise InvalidPayload(FailureKind.NOT_AN_OBJECT, f"the value is {describe(value)}; a record is expected")
        return value

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll; None if there is no columnar path. Never raises for data."""
        plan = self._plan(tuple(paths))
        return None if plan is None else plan.run(values, start)

    def _plan(self, paths: tuple[Path, ...]) -> Plan | None:
        with self._lock:  # threads may ask for the same plan at once
            if paths not in self._plans:
                reader = None if self.reader is None else self.reader.root
                self._plans[paths] = compile_plan(self.writer.root, reader, paths)
                if len(self._plans) > MAX_PLANS:
                    self._plans.popitem(last=False)
            return self._plans[paths]


def _registered(schema: RegisteredSchema) -> AvroSchema:
    if schema.rules:
        raise unsupported(f"the schema {schema.ref} has rules that Forebay does not execute: {', '.join(schema.rules)}")
    return parse_avro_schema(schema.text, [reference.text for reference in schema.references])
