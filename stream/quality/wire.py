"""Records on the topic `quality`: sums that readers add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import orjson

from forebay.schemas.errors import DataError
from forebay.schemas.quality import QUALITY_FORMAT
from forebay.stream.quality.counts import MAX_COUNT
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.sums import QualitySums, SumsDocument

_MAX_NUMBER: Final = (1 << 31) - 1
_MIN_MS: Final = -6 * 10**13
_MAX_MS: Final = 10**14
"""Times from the year 68 to 5138: each of them can be shown as a date."""
_MAX_WINDOW_MS: Final = 366 * 86_400_000


class LabelCounts(msgspec.Struct, kw_only=True):
    """Counts of labels, over all versions of a model. All may be negative in a part, if a label was counted again otherwise.

    labels: that were read.
    used: that are the valid label of a prediction, of any version.
    repeated: with the value that the prediction already had.
    corrected: that replaced another value.
    refused: that are malformed, too far in the future, or have no possible value.
    early: that came before their prediction.
    """

    labels: int = 0
    used: int = 0
    repeated: int = 0
    corrected: int = 0
    refused: int = 0
    early: int = 0

    def merge(self, other: LabelCounts) -> None:
        """Add the counts of another part."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def is_empty(self) -> bool:
        """Whether every count is zero."""
        return not any(getattr(self, name) for name in self.__struct_fields__)


class LabelProgress(msgspec.Struct, kw_only=True):
    """How far the labels have been read: by partition, the largest timestamp of a label so far.

    A window is final when the labels of all partitions are beyond its end and the horizon. The largest is valid.

    unlabelled: partitions that had predictions, but no label yet.
    """

    horizon_ms: int
    until_ms: dict[int, int] = {}
    unlabelled: list[int] = []

    def merge(self, other: LabelProgress) -> None:
        """Take the largest timestamps, the horizon of the other, and all partitions without a label in either."""
        self.horizon_ms = other.horizon_ms
        for partition, timestamp in other.until_ms.items():
            self.until_ms[partition] = max(timestamp, self.until_ms.get(partition, timestamp))
        self.unlabelled = sorted({*self.unlabelled, *other.unlabelled} - self.until_ms.keys())

    def known_until_ms(self) -> int | None:
        """Return the time up to which the labels of all partitions have come; None while one with predictions has none."""
        return None if self.unlabelled else min(self.until_ms.values(), default=None)


class JsonSums(Protocol):
    """Further sums that a record carries, such as those by block of an experiment."""

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class QualityDelta:
    """A record of the topic.

    sums: of the key; None if the record only has counts of labels.
    blocks, paired: JSON values of further sums, if it has them.
    group: the evaluators' consumer group. Each group counts everything, so that readers add up one only.
    """

    key: QualityKey
    window_ms: int
    sums: QualitySums | None
    labels: LabelCounts | None
    progress: LabelProgress | None
    blocks: Mapping[str, Any] | None
    paired: Mapping[str, Any] | None
    group: str
    worker: str

    @property
    def window_end(self) -> int:
        """The end of the window, exclusive."""
        return self.key.window_start + self.window_ms


class _Document(msgspec.Struct, kw_only=True):
    format: int
    model: str
    version: int
    window_start: int
    window_end: int
    slice: str
    group: str
    worker: str
    sums: SumsDocument | None = None
    labels: LabelCounts | None = None
    progress: LabelProgress | None = None
    blocks: dict[str, Any] | None = None
    paired: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no evaluator writes, and that readers could not add up or show."""
        if not 0 <= self.version <= _MAX_NUMBER or not _MIN_MS <= self.window_start <= _MAX_MS:
            raise ValueError("version or window_start is out of range")
        if self.window_end <= self.window_start:
            raise ValueError(f"window_end {self.window_end} is not after the start")
        window_ms = self.window_end - self.window_start
        if window_ms > _MAX_WINDOW_MS or window_ms % 1000:
            raise ValueError("the window is not of whole seconds, or is longer than a year")
        if self.labels is not None and any(abs(count) > MAX_COUNT for count in msgspec.structs.astuple(self.labels)):
            raise ValueError(f"a count of labels is beyond {MAX_COUNT}")
        progress = self.progress
        if progress is not None and not (
            0 <= progress.horizon_ms <= _MAX_MS
            and all(0 <= number <= _MAX_NUMBER for number in (*progress.until_ms, *progress.unlabelled))
            and all(_MIN_MS <= time_ms <= _MAX_MS for time_ms in progress.until_ms.values())
        ):
            raise ValueError("a number of progress is out of range")


@dataclass(frozen=True, slots=True)
class QualityParts:
    """What a record carries beside its key. All parts may be missing, and add up with the same part of other records."""

    sums: QualitySums | None = None
    labels: LabelCounts | None = None
    progress: LabelProgress | None = None
    blocks: JsonSums | None = None
    paired: JsonSums | None = None


def encode_parts(
    key: QualityKey, parts: QualityParts, *, window_s: int, group: str, worker: str
) -> tuple[bytes, bytes]:
    """Return key and value of a record.

    window_s: length of the windows, in seconds.
    group: the consumer group of the evaluators.
    worker: the process that counted.
    """
    document: dict[str, Any] = {
        "format": QUALITY_FORMAT,
        "model": key.model,
        "version": key.version,
        "window_start": key.window_start,
        "window_end": key.window_start + window_s * 1000,
        "slice": key.slice,
        "group": group,
        "worker": worker,
    }
    for name in ("sums", "blocks", "paired"):
        part = getattr(parts, name)
        if part is not None:
            document[name] = part.to_dict()
    if parts.labels is not None:
        document["labels"] = msgspec.to_builtins(parts.labels)
    if parts.progress is not None:
        document["progress"] = msgspec.to_builtins(parts.progress, str_keys=True)
    record_key = f"{key.model}|{key.version}|{key.window_start}|{key.slice}".encode()
    return record_key, orjson.dumps(document)


def encode_quality(
    key: QualityKey, sums: QualitySums, *, blocks: JsonSums | None = None, window_s: int, group: str, worker: str
) -> tuple[bytes, bytes]:
    """Return key and value of a record with the sums of a key. See `encode_parts`."""
    return encode_parts(key, QualityParts(sums=sums, blocks=blocks), window_s=window_s, group=group, worker=worker)


def decode_quality(value: bytes | None) -> QualityDelta:
    """Return what a record's value says. Raises DataError with the place of what is wrong."""
    try:
        document = msgspec.json.decode(value or b"", type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"not a quality record: {error}", kind="quality") from None
    if document.format != QUALITY_FORMAT:
        raise DataError(
            f"not a quality record: format is {document.format}; this release reads format {QUALITY_FORMAT}",
            kind="quality",
        )
    return QualityDelta(
        key=QualityKey(document.model, document.version, document.window_start, document.slice),
        window_ms=document.window_end - document.window_start,
        sums=None if document.sums is None else QualitySums.of_document(document.sums),
        labels=document.labels,
        progress=document.progress,
        blocks=document.blocks,
        paired=document.paired,
        group=document.group,
        worker=document.worker,
    )
