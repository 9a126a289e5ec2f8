"""The format Protobuf: payloads that are messages of one type of a registered schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.document_columns import columns_one_by_one
from forebay.stream.decode.formats.payload import (
    NO_ROLES,
    FieldRoles,
    InvalidPayload,
    ParsedColumns,
    Path,
    invalid_payload,
)
from forebay.stream.decode.formats.protobuf_columns import ColumnReader
from forebay.stream.decode.formats.protobuf_documents import MAX_VALUES, Budget, Converters
from forebay.stream.decode.formats.protobuf_orders import Orders, learn_orders
from forebay.stream.decode.formats.protobuf_plan import MessagePlan, Planner
from forebay.stream.decode.formats.protobuf_schema import UnsupportedSchema, message_class
from forebay.stream.decode.formats.protobuf_size import SizeLimit
from forebay.stream.schema_registry.schema import RegisteredSchema

MANY: Final = 8
"""If more than one payload in eight is a suspect, the order of fields is examined."""
NUM_SAMPLES: Final = 8
"""The longest of this many suspects shows the order of fields."""
MAX_SAMPLE_BYTES: Final = 1 << 16
MAX_PLANS: Final = 16
"""At most this many plans are kept. There is usually one for each mapping."""


class ProtobufFormat:
    """Decodes messages of one type. The constructor raises InvalidPayload if the schema cannot be used.

    indexes: where the type is within the schema, as Confluent's framing says: the index of the message type, then those of
        nested types.
    reads_few_at_once: whether also few payloads are read in columns, which then takes longer than one by one.
    """

    def __init__(
        self, schema: RegisteredSchema, indexes: Sequence[int] = (0,), *, reads_few_at_once: bool = False
    ) -> None:
        try:
            self._class = message_class(schema, indexes)
        except UnsupportedSchema as fault:
            message = " ".join(str(fault).split())
            raise InvalidPayload(FailureKind.UNSUPPORTED_SCHEMA, message) from None
        descriptor = self._class.DESCRIPTOR
        self.message_type: str = descriptor.full_name
        self._converters = Converters()
        self._convert = self._converters.message(descriptor)
        self._reads_few_at_once = reads_few_at_once
        self._orders: Orders = {}
        self._plans: dict[tuple[Path, ...], MessagePlan] = {}
        self._limit = SizeLimit(descriptor, MAX_VALUES)

    @property
    def name(self) -> str:
        return "protobuf"

    @property
    def has_schema(self) -> bool:
        return True

    @property
    def roles(self) -> FieldRoles:
        return NO_ROLES

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the message as nested Python values. Raises only InvalidPayload."""
        if not self._limit.allows(payload):
            raise invalid_payload(f"more than {MAX_VALUES} values")
        try:
            message = self._class.FromString(payload)
        except DecodeError:
            raise invalid_payload(f"not a message of the type {self.message_type}") from None
        return self._convert(message, Budget())

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll; None if a path is the whole message. Never raises for data."""
        if not values or not all(paths):
            return None
        key = tuple(paths)
        plan = self._plan(key)
        if len(values) <= plan.num_few and not self._reads_few_at_once:
            return columns_one_by_one(self.document, values, paths, start=start)
        parsed = ColumnReader(plan, values, start).read()
        if np.count_nonzero(parsed.suspects_B) > len(values) // MANY:
            parsed = self._in_other_order(key, values, parsed, start=start)
        longest = start + self._limit.safe_bytes
        if max(map(len, values)) > longest:
            parsed.suspects_B |= np.fromiter((len(value) > longest for value in values), bool, len(values))
        return parsed

    def _in_other_order(
        self, paths: tuple[Path, ...], values: Sequence[bytes], parsed: ParsedColumns, *, start: int
    ) -> ParsedColumns:
        """Read a poll again in the order of fields of a suspect, if that is another one. Keep the order if it fits better."""
        suspects = np.flatnonzero(parsed.suspects_B)[:NUM_SAMPLES].tolist()
        sample = max((values[index][start:] for index in suspects), key=len)
        if len(sample) > MAX_SAMPLE_BYTES:
            return parsed
        orders = learn_orders(self._class.DESCRIPTOR, sample)
        if orders == self._orders:
            return parsed
        plan = self._new_plan(paths, orders)
        again = ColumnReader(plan, values, start).read()
        if again.suspects_B.sum() >= parsed.suspects_B.sum():
            return parsed
        # Only now, because other threads may be planning for other paths.
        self._orders, self._plans = orders, {paths: plan}
        return again

    def _plan(self, paths: tuple[Path, ...]) -> MessagePlan:
        plan = self._plans.get(paths)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[paths] = self._new_plan(paths, self._orders)
        return plan

    def _new_plan(self, paths: tuple[Path, ...], orders: Orders) -> MessagePlan:
        wanted = [(path, path) for path in dict.fromkeys(paths)]
        return Planner(self._converters, orders).plan(self._class.DESCRIPTOR, wanted)
