"""What a format makes of payloads: documents, one by one and exact; and columns, of a whole poll and fast.

A format knows neither models nor mappings. What its fast path does not plainly accept is a suspect, which the exact path
decides. The two agree: a value in a column equals the value at the same path in the document.

Shapes: B payloads, N numbers of an array.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Record
from forebay.stream.core.rows import RowRecords

Path = tuple[str, ...]
"""Names of nested fields from the top of the payload. A number as text indexes an array. Empty: the payload itself."""

MAX_DEPTH: Final = 64
"""Documents that are nested more deeply are invalid payloads, in every format."""

TimeUnit = Literal["s", "ms", "us", "ns"]


class InvalidPayload(Exception):
    """Bytes are not a payload of the format. kind and message say why. A message contains no line breaks."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def invalid_payload(message: str) -> InvalidPayload:
    """Return the fault of bytes that are not a payload of the format."""
    return InvalidPayload(FailureKind.INVALID_PAYLOAD, message)


class ShapedFeatures(ABC):
    """Features in a document that become a row only when the shape that a model takes is known, such as an image."""

    __slots__ = ()

    @abstractmethod
    def row(self, shape: tuple[int, ...]) -> bytes:
        """Return the finite values of a row of this shape as little-endian float32. Raises InvalidPayload."""

    @abstractmethod
    def summary(self) -> dict[str, object]:
        """Return what people are shown instead of the values, as JSON."""


@dataclass(slots=True)
class Column:
    """One field of B payloads.

    values: [B] float64, float32, int64, bool, or object (as in documents); [B, N] for arrays of numbers of equal length.
    missing_B: which values are null or absent; None if none is. Values of these entries are undefined.
    unit: of int64 values that are times since the Unix epoch.
    """

    values: NDArray[Any]
    missing_B: NDArray[np.bool_] | None = None
    unit: TimeUnit | None = None


@dataclass(slots=True)
class ParsedColumns:
    """The columns of a poll, by path: one for each path that was asked for.

    suspects_B: the payloads that the exact path has to decide. Their entries in the columns are undefined.
    """

    columns: Mapping[Path, Column]
    suspects_B: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FieldRoles:
    """What the properties of a schema itself say about its fields (`forebay.feature`, `forebay.role`).

    features: the path of the field by the name of the feature.
    roles: the path by role: "id", "timestamp", "key", "model", "label" or "deadline".
    """

    features: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    roles: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))


NO_ROLES: Final = FieldRoles()


class RowReader(Protocol):
    """A format whose payloads hold several rows. Each row is an event."""

    def read(self, records: Sequence[Record], place: str) -> tuple[list[tuple[Format, RowRecords]], list[Record]]:
        """Return the rows of records, by the schema that they have in common, and the records that cannot be read.

        place: `<topic>-<partition>` of the records.
        """


class RowsFormat(Protocol):
    """The format of rows with one schema."""

    def columns_of_rows(self, rows: RowRecords, paths: Sequence[Path]) -> ParsedColumns:
        """Return the columns of rows that have this format. Never raises for data."""


class Format(Protocol):
    """A format of payloads. Formats with schemas have one object for each writer schema.

    Formats are total: any bytes give a document or InvalidPayload, in bounded memory and time.
    """

    @property
    def name(self) -> str:
        """The name, as in `input.format`."""

    @property
    def has_schema(self) -> bool:
        """Whether a schema describes the fields, so that features may be found by name without a mapping."""

    @property
    def roles(self) -> FieldRoles:
        """What the schema's own properties say; NO_ROLES for formats without a schema."""

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the payload as nested Python values. Raises only InvalidPayload.

        Values are None, bool, int, float, str, bytes, list, dict with str keys; of logical types: aware datetime, date, time,
        timedelta, Decimal. Enums and UUIDs are str. Features may also be ShapedFeatures.
        """

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll; None if there is no fast path for these paths. Never raises for data.

        values: the values of records. The payload of each is `value[start:]`.
        """
