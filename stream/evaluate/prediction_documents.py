"""Reads predictions in Avro and Protobuf as the documents that they are in JSON.

The schema of each is that which wrote it, so that predictions of several releases can be read. A schema that is not known is
asked for until it is, as a worker does; with `schema_registry.on_unknown_id = "reject"`, predictions whose schema the registry
does not have are refused, and it is asked for again later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import orjson

from forebay.schemas.errors import ForebayError
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.schema_registry.framing import ID_MAGIC
from forebay.stream.schema_registry.resolver import SchemaResolver


class NotAPrediction(ValueError):
    """A value cannot be read. The message says why."""


class PredictionDocuments:
    """Reads values of predictions.

    resolver: looks schemas up; None if no registry is configured, so that only JSON is read.
    """

    def __init__(self, resolver: SchemaResolver | None = None) -> None:
        self._resolver = resolver
        self._choice = FormatChoice(FormatSettings(), None if resolver is None else resolver.client.store)

    def problem(self, polled: Mapping[TopicPartition, Sequence[Record]], topics: Collection[str]) -> str | None:
        """Return why predictions that were polled cannot be read yet, and look their schemas up; None if they can.

        topics: those of predictions.
        """
        if self._resolver is None:
            return None
        refs = {
            self._choice.schema_ref(record, partition[0])
            for partition, records in polled.items()
            if partition[0] in topics
            for record in records
        }
        unknown = [ref for ref in refs if ref is not None and not self._resolver.is_resolved(ref)]
        if not unknown:
            return None
        self._resolver.want(unknown)
        for ref in unknown:
            if (problem := self._resolver.problem(ref)) is not None:
                return f"waiting for the schema with {ref} of predictions: {problem}"
        return f"waiting for the schema with {unknown[0]} of predictions"

    def end_wait(self) -> None:
        """End the look-ups: the predictions can be read, or will be polled again."""
        if self._resolver is not None:
            self._resolver.want(())

    def read(self, record: Record) -> object:
        """Return what a prediction says. Raises NotAPrediction. Call `problem` before."""
        value = record.value or b""
        if self._resolver is None or value[:1] != bytes([ID_MAGIC]):
            try:
                return orjson.loads(value)
            except ValueError:
                raise NotAPrediction("the value is not JSON") from None
        try:
            choice = self._choice.choose(record, "")
            if choice.format is None:
                raise NotAPrediction("the value is not JSON")
            return choice.format.document(value[choice.start :])
        except (InvalidPayload, ForebayError) as fault:
            raise NotAPrediction(fault.message) from None
