"""The schemas that are known. Answers from memory only, so that decoding never waits.

Several threads read: the decoder, requests, and shadows. A schema that one thread adds is seen by all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef

DEFAULT_MAX_SCHEMAS: Final = 10_000


class SchemaStore:
    """Schemas by reference. They never expire, because what an id or a GUID names does not change.

    max_schemas: the schema that was not used for the longest time is dropped beyond this number, and looked up again when a
    record needs it.
    """

    def __init__(self, max_schemas: int = DEFAULT_MAX_SCHEMAS) -> None:
        if max_schemas < 1:
            raise ValueError("at least one schema must fit")
        self._max_schemas = max_schemas
        self._schemas: dict[SchemaRef, RegisteredSchema] = {}  # in the order of their last use
        self._lock = threading.Lock()

    def get(self, ref: SchemaRef) -> RegisteredSchema | None:
        """Return the schema; None if it is not known yet."""
        with self._lock:
            schema = self._schemas.pop(ref, None)
            if schema is not None:
                self._schemas[ref] = schema
            return schema

    def put(self, schema: RegisteredSchema) -> None:
        """Add a schema."""
        with self._lock:
            self._schemas.pop(schema.ref, None)
            self._schemas[schema.ref] = schema
            if len(self._schemas) > self._max_schemas:
                del self._schemas[next(iter(self._schemas))]

    def __iter__(self) -> Iterator[RegisteredSchema]:
        """Return the known schemas, as they are now."""
        with self._lock:
            return iter(list(self._schemas.values()))

    def __contains__(self, ref: SchemaRef) -> bool:
        with self._lock:
            return ref in self._schemas

    def __len__(self) -> int:
        return len(self._schemas)
