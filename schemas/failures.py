"""The table of everything that can go wrong with an event: outcome, stage, scope and remedy of each failure kind.

Every event has exactly one `Outcome`. If it is neither `PREDICTED` nor `ACCEPTED`, a `FailureKind` names the cause, and
`FAILURES` describes the kind. When events are gathered into windows, each window has an outcome of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Outcome(StrEnum):
    """What became of one event or one window. Each has exactly one outcome.

    An event is predicted by itself or accepted into windows. It is late if all its windows are closed.
    """

    PREDICTED = "predicted"
    REJECTED = "rejected"
    FAILED = "failed"
    ACCEPTED = "accepted"
    LATE = "late"
    WINDOW_PREDICTED = "window_predicted"
    WINDOW_FAILED = "window_failed"

    @property
    def of_window(self) -> bool:
        """Whether it is the outcome of a window, not of an event."""
        return self in (Outcome.WINDOW_PREDICTED, Outcome.WINDOW_FAILED)

    @property
    def is_good(self) -> bool:
        """Whether it is not a failure and so has no failure kind."""
        return self in (Outcome.PREDICTED, Outcome.ACCEPTED, Outcome.WINDOW_PREDICTED)

    @property
    def is_letter(self) -> bool:
        """Whether it produces a dead letter."""
        return self in (Outcome.REJECTED, Outcome.FAILED, Outcome.WINDOW_FAILED)


ABSTAINED: Final = "abstained"
"""The kind of predictions that are for review, because the model abstains."""
GOOD_KINDS: Final = (*(outcome.value for outcome in Outcome if outcome.is_good), ABSTAINED)
"""The kinds of outcomes that are not failures: the names of the outcomes, and abstained."""


class Stage(StrEnum):
    """The stage of processing at which the outcome of an event was decided."""

    DECODE = "decode"
    WINDOW = "window"
    PREPARE = "prepare"
    MODEL = "model"
    EMIT = "emit"


class Scope(StrEnum):
    """What a failure affects, which decides how it is handled.

    A failed row becomes a dead letter. A failed batch is bisected to find the rows. A device out of memory gets smaller
    batches.
    """

    ROW = "row"
    BATCH = "batch"
    DEVICE = "device"


class FailureKind(StrEnum):
    """Why an event was rejected, late or failed. Dead letters and outcome deltas carry the value."""

    UNREADABLE_RECORD = "unreadable_record"
    UNREADABLE_BATCH = "unreadable_batch"
    BATCH_TOO_LARGE = "batch_too_large"
    TOO_MANY_HEADERS = "too_many_headers"
    EMPTY_VALUE = "empty_value"
    TOO_LARGE = "too_large"
    KEY_TOO_LARGE = "key_too_large"
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    NOT_JSON = "not_json"
    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNSUPPORTED_SCHEMA = "unsupported_schema"
    UNDECRYPTABLE = "undecryptable"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    WRONG_LENGTH = "wrong_length"
    MISSING_VALUE = "missing_value"
    UNKNOWN_CATEGORY = "unknown_category"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_MODEL = "unknown_model"
    DUPLICATE = "duplicate"
    DENIED = "denied"
    MISSING_KEY = "missing_key"
    TIMESTAMP_AHEAD = "timestamp_ahead"
    TIMESTAMP_BEHIND = "timestamp_behind"
    LATE = "late"
    WINDOW_FULL = "window_full"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    OUTLIER = "outlier"
    PREPARE_ERROR = "prepare_error"
    MODEL_ERROR = "model_error"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_NOT_FINITE = "output_not_finite"
    OUTPUT_SHAPE = "output_shape"
    PREDICTION_TOO_LARGE = "prediction_too_large"


KINDS_OF_COLUMNS: Final = frozenset(
    {
        FailureKind.MISSING_FIELD,
        FailureKind.WRONG_TYPE,
        FailureKind.WRONG_LENGTH,
        FailureKind.MISSING_VALUE,
        FailureKind.UNKNOWN_CATEGORY,
        FailureKind.NOT_FINITE,
        FailureKind.OUT_OF_RANGE,
    }
)
"""Rejections by the columns of a version: another version of the model may accept the event."""


@dataclass(frozen=True, slots=True)
class FailureSpec:
    """The description of a failure kind.

    retryable: whether the same event can succeed later without a change to the event or the model.
    description: what happened, for people.
    remedy: what to do about it.
    is_raw: whether the dead letter's value is a record or a whole batch as Kafka's log holds it, not an event's value.
    """

    outcome: Outcome
    stage: Stage
    scope: Scope
    retryable: bool
    description: str
    remedy: str
    is_raw: bool = False


def _rejected(description: str, remedy: str, stage: Stage = Stage.DECODE) -> FailureSpec:
    return FailureSpec(
        outcome=Outcome.REJECTED, stage=stage, scope=Scope.ROW, retryable=False, description=description, remedy=remedy
    )


def _unreadable(description: str, remedy: str) -> FailureSpec:
    return FailureSpec(
        outcome=Outcome.REJECTED,
        stage=Stage.DECODE,
        scope=Scope.ROW,
        retryable=False,
        description=description,
        remedy=remedy,
        is_raw=True,
    )


def _failed(stage: Stage, scope: Scope, description: str, remedy: str, retryable: bool = False) -> FailureSpec:
    return FailureSpec(
        outcome=Outcome.FAILED, stage=stage, scope=scope, retryable=retryable, description=description, remedy=remedy
    )


FAILURES: Final[Mapping[FailureKind, FailureSpec]] = MappingProxyType(
    {
        FailureKind.UNREADABLE_RECORD: _unreadable(
            "the record is not in Kafka's format, or a header's name is not UTF-8",
            "fix the producer or its client library; the dead letter's value is the record as stored in the log",
        ),
        FailureKind.UNREADABLE_BATCH: _unreadable(
            "a record batch cannot be decompressed or split into records; one dead letter stands for all its records",
            "fix the producer or its compression codec; the dead letter's value is the batch as stored in the log",
        ),
        FailureKind.BATCH_TOO_LARGE: _unreadable(
            "a record batch is larger than input.max_unpacked_batch_bytes when decompressed; one dead letter stands for all "
            "its records",
            "lower the producer's batch.size, or raise input.max_unpacked_batch_bytes; the dead letter's value is the batch "
            "as stored in the log",
        ),
        FailureKind.TOO_MANY_HEADERS: _unreadable(
            "the record has more than 8192 headers",
            "send fewer headers; the dead letter's value is the record as stored in the log",
        ),
        FailureKind.EMPTY_VALUE: _rejected(
            "the record has no value (a tombstone) or a value of zero bytes",
            "publish an event as the value; the input topic must not be compacted",
        ),
        FailureKind.TOO_LARGE: _rejected(
            "the value is larger than input.max_event_bytes, an image than input.max_image_pixels, or it has more rows than "
            "input.max_rows_per_record",
            "send smaller events, or raise the limit that the message names",
        ),
        FailureKind.KEY_TOO_LARGE: _rejected(
            "the key of the record, or the field key of the event, is longer than input.max_key_bytes",
            "send shorter keys or raise input.max_key_bytes",
        ),
        FailureKind.UNSUPPORTED_CONTENT_TYPE: _rejected(
            "the content-type header names a format that Forebay does not read",
            "send the content type of a format that is read, such as application/json, or no content-type header",
        ),
        FailureKind.NOT_JSON: _rejected(
            "the value is not a JSON document in UTF-8",
            "check the producer's serializer; `forebay schemas event` prints the expected format",
        ),
        FailureKind.INVALID_PAYLOAD: _rejected(
            "the value is not in the format that its content type, its framing or input.format says",
            "check the producer's serializer, and the format that is configured for the topic",
        ),
        FailureKind.UNKNOWN_SCHEMA: _rejected(
            "the value names a schema that the schema registry does not have",
            "register the schema, or correct schema_registry.urls; then replay the dead letters",
        ),
        FailureKind.UNSUPPORTED_SCHEMA: _rejected(
            "the schema uses something that Forebay does not support, such as rules that it cannot execute",
            "remove what the message names from the schema, or send the events in another format",
        ),
        FailureKind.UNDECRYPTABLE: _rejected(
            "the value, or a field that the configuration declares as encrypted, cannot be decrypted",
            "the message begins with the reason: add the key to the keyring, or correct the producer; then replay the dead "
            "letter",
        ),
        FailureKind.NOT_AN_OBJECT: _rejected(
            "the value is not an object (a record or map with named fields)",
            "send one event as an object; `forebay schemas event` and `[input.mapping]` say which fields it has",
        ),
        FailureKind.MISSING_FIELD: _rejected(
            "a required field is missing",
            "send id, timestamp and features (or input), and, if features are named, each that is not nullable",
        ),
        FailureKind.WRONG_TYPE: _rejected(
            "a field has a type that is not allowed there",
            "correct the field that the message names; `forebay schemas event` prints the types",
        ),
        FailureKind.WRONG_LENGTH: _rejected(
            "the number of features differs from the model's signature",
            "send the features of the signature in the model's manifest, in its order",
        ),
        FailureKind.MISSING_VALUE: _rejected(
            "a feature that must have a value is null",
            "send a value, or train the model with this feature nullable",
        ),
        FailureKind.UNKNOWN_CATEGORY: _rejected(
            "a category is not among those that the model was trained with",
            "send a known category, or train the model with this feature nullable",
        ),
        FailureKind.NOT_FINITE: _rejected(
            "a feature is NaN or infinite", "send finite numbers, or null if the feature is nullable"
        ),
        FailureKind.OUT_OF_RANGE: _rejected(
            "a number is out of range (float32 for features, 64-bit milliseconds for times)",
            "scale the feature, or send the time in milliseconds since the Unix epoch",
        ),
        FailureKind.UNKNOWN_MODEL: _rejected(
            "the event asks for a model that this worker does not serve",
            "name a model that the message lists, send it to a topic whose worker serves that model, or omit the field model "
            "and the header forebay-model",
        ),
        FailureKind.DUPLICATE: _rejected(
            "the event's id is that of an earlier event of the same partition and model",
            "nothing, if the producer sends events again; give different events different ids, or shorten "
            "input.duplicate_window_events",
        ),
        FailureKind.DENIED: _rejected(
            "the event has no valid token, or its principal may not use the model",
            "the message says which: send a valid token in the header forebay-principal, or add a rule to access.rules",
        ),
        FailureKind.MISSING_KEY: _rejected(
            "the event has no key, but events are gathered into windows by key",
            "set the key of the record or the field key of the event",
            Stage.WINDOW,
        ),
        FailureKind.TIMESTAMP_AHEAD: _rejected(
            "the event's timestamp is more than window.max_timestamp_ahead_ms ahead of its record's timestamp or of the "
            "worker's clock: it would close every window",
            "correct the producer's clock or unit of time, or the worker's clock if the message names it, or raise "
            "window.max_timestamp_ahead_ms",
            Stage.WINDOW,
        ),
        FailureKind.TIMESTAMP_BEHIND: _rejected(
            "the event's timestamp is more than window.max_timestamp_behind_ms behind its record's timestamp",
            "send milliseconds since the Unix epoch, not seconds; for older events raise window.max_timestamp_behind_ms",
            Stage.WINDOW,
        ),
        FailureKind.LATE: FailureSpec(
            outcome=Outcome.LATE,
            stage=Stage.WINDOW,
            scope=Scope.ROW,
            retryable=False,
            description="every window that the event belongs to is closed",
            remedy="raise window.allowed_lateness_ms or window.max_out_of_orderness_ms",
        ),
        FailureKind.WINDOW_FULL: _failed(
            Stage.WINDOW,
            Scope.ROW,
            "every window that the event belongs to holds window.max_rows_per_window events",
            "raise window.max_rows_per_window, or configure shorter windows",
        ),
        FailureKind.DEADLINE_EXCEEDED: _failed(
            Stage.WINDOW,
            Scope.ROW,
            "the event's deadline passed before the model could process it",
            "send later deadlines, add workers, or lower batch.max_queue_delay_ms",
        ),
        FailureKind.OUTLIER: _rejected(
            "a value is outside the range that the model's preparation allows, or is missing where it requires one",
            "check the event; if such values are usual now, train the model again with rows that have them",
            Stage.PREPARE,
        ),
        FailureKind.PREPARE_ERROR: _failed(
            Stage.PREPARE,
            Scope.BATCH,
            "the model's preprocessing raised an exception for this row",
            "see the dead letter's message; publish a new version whose preprocessing covers this value",
        ),
        FailureKind.MODEL_ERROR: _failed(
            Stage.MODEL,
            Scope.BATCH,
            "the model raised an exception for this row, even when it ran alone",
            "reproduce it with the dead letter's value; fix the model and publish a new version",
        ),
        FailureKind.OUT_OF_MEMORY: _failed(
            Stage.MODEL,
            Scope.DEVICE,
            "the device ran out of memory for this row, even when it ran alone",
            "use a device with more memory or a smaller model",
            retryable=True,
        ),
        FailureKind.OUTPUT_NOT_FINITE: _failed(
            Stage.MODEL,
            Scope.ROW,
            "the model's output for this row is NaN or infinite",
            "check the event for extreme values; train the model with scaled features",
        ),
        FailureKind.OUTPUT_SHAPE: _failed(
            Stage.MODEL,
            Scope.BATCH,
            "the shape of the model's output differs from its signature",
            "correct the model or its signature and publish a new version",
        ),
        FailureKind.PREDICTION_TOO_LARGE: _failed(
            Stage.EMIT,
            Scope.ROW,
            "the prediction record would be larger than the topic or the producer allows",
            "raise max.message.bytes of the predictions topic and output.max_request_size",
        ),
    }
)
