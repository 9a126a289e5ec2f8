"""The parts of a prediction in a binary format, in the order in which they follow each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from forebay.stream.core.records import TopicPartition
from forebay.stream.output.varints import Integers

ABSTAIN: Final = "abstain"
"""The field `decision` of predictions for the topic review."""


class EncodableWindow(Protocol):
    """The fields of a window in its prediction (see `eventtime.window_chunk`). Times are ms since the Unix epoch."""

    @property
    def id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def num_events(self) -> int: ...
    @property
    def dropped(self) -> int: ...


class Wire(Protocol):
    """A binary format. The little-endian float32 scores and confidence stand between the parts.

    message_path: what stands between the id of the schema and the record.
    scores_end: between the scores and the confidence.
    confidence_mark, no_confidence: before a confidence, and in place of one.
    """

    @property
    def message_path(self) -> bytes: ...
    @property
    def scores_end(self) -> bytes: ...
    @property
    def confidence_mark(self) -> bytes: ...
    @property
    def no_confidence(self) -> bytes: ...

    def before_id(self, length: int) -> bytes:
        """Return what precedes the event's id of `length` bytes."""

    def before_scores(self, model: str, version: int, num_scores: int) -> bytes:
        """Return what stands between the id and the scores."""

    def class_and_label(self, index: int | None, label: str | None) -> bytes: ...

    def sources(
        self, partition: TopicPartition, offsets_B: Integers, timestamps_B: Integers, rows_B: Integers | None = None
    ) -> list[bytes]:
        """Return the source of each row. rows_B: the rows of the events in their records, -1 for a record that is one event."""

    def window(self, window: EncodableWindow | None) -> bytes: ...

    def slices(self, values: Mapping[str, str] | None) -> bytes: ...

    def abstention(self, reason: str | None) -> bytes:
        """Return the decision and its reason; None: the model does not abstain."""
