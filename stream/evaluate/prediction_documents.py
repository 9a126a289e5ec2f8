"""Reads predictions in Avro and Protobuf as the documents that they are in JSON.

The schema of each is that which wrote it, so that predictions of several releases can be read. While the registry cannot be
asked for one, the evaluator waits. A prediction whose schema the registry does not have is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

import orjson

from forebay.schemas.errors import ForebayError
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.errors import RegistryError, SchemaInvalid, SchemaNotFound
from forebay.stream.schema_registry.framing import ID_MAGIC
from forebay.stream.schema_registry.schema import SchemaRef

log = logging.getLogger("forebay.evaluate")

RETRY_S: Final = 1.0


class NotAPrediction(ValueError):
    """A value cannot be read. The message says why."""


class PredictionDocuments:
    """Reads values of predictions.

    client: of the registry; None if none is configured, so that only JSON is read.
    """

    def __init__(
        self, client: SchemaRegistryClient | None = None, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._choice = FormatChoice(FormatSettings(), None if client is None else client.store)
        self._missing: set[SchemaRef] = set()

    async def resolve(
        self,
        polled: Mapping[TopicPartition, Sequence[Record]],
        topics: Collection[str],
        is_wanted: Callable[[], bool],
    ) -> bool:
        """Ask for the schemas of what was polled, until the registry answers. Return False if it was not wanted any more.

        topics: those of predictions.
        """
        if self._client is None:
            return True
        for partition, records in polled.items():
            if partition[0] not in topics:
                continue
            refs = {self._choice.schema_ref(record, partition[0]) for record in records}
            for ref in refs - self._missing:
                if ref is None or self._client.store.get(ref) is not None:
                    continue
                if not await self._ask(self._client, ref, is_wanted):
                    return False
        return True

    async def _ask(self, client: SchemaRegistryClient, ref: SchemaRef, is_wanted: Callable[[], bool]) -> bool:
        is_reported = False
        while is_wanted():
            try:
                await client.get(ref)
                return True
            except (SchemaNotFound, SchemaInvalid) as error:
                log.warning("predictions with the schema %s are refused: %s", ref, error.description)
                self._missing.add(ref)
                return True
            except RegistryError as error:
                if not is_reported:
                    log.warning("waiting for the schema %s of predictions: %s", ref, error.description)
                    is_reported = True
                await self._sleep(RETRY_S)
        return False

    def read(self, record: Record) -> object:
        """Return what a prediction says. Raises NotAPrediction. Call `resolve` before."""
        value = record.value or b""
        if self._client is None or value[:1] != bytes([ID_MAGIC]):
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
