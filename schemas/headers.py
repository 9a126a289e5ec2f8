"""The names of all record headers that Forebay reads or writes. Names are compared without regard to case."""

from __future__ import annotations

from typing import Final

CONTENT_TYPE: Final = "content-type"
"""The media type of the value. If it is missing, the value is JSON."""

TRACEPARENT: Final = "traceparent"
"""W3C trace context, copied unchanged from an event to its prediction or dead letter. On an outcome delta it is the context of
the micro-batch's span, if that is traced."""

# ---- on events

MODEL: Final = "forebay-model"
"""The name of the model that the event is for, UTF-8. The field `model` of a JSON event takes precedence. Of several such
headers, the last one counts."""

PRIORITY: Final = "forebay-priority"
"""With `priorities.headers`: `high`, `normal` or `low`. It can raise the priority that the event has by its topic. Other words
are ignored and counted."""

PRINCIPAL: Final = "forebay-principal"
"""With `access.enabled`: a signed token (compact JWS) that says who asks. Exactly one is required. It is copied neither to
predictions nor to dead letters."""

# ---- on events whose value is raw float32, which has no place for these fields

ID: Final = "forebay-id"
"""The event's id, UTF-8. If it is missing, the record key is the id."""

TIMESTAMP: Final = "forebay-timestamp"
"""The event time: decimal milliseconds since the Unix epoch. If it is missing, the record's timestamp is used."""

DEADLINE_MS: Final = "forebay-deadline-ms"
"""The time after which a prediction is useless: decimal milliseconds since the Unix epoch."""

# ---- on dead letters; numbers are decimal text, all values are UTF-8

ERROR_PREFIX: Final = "forebay.error."
ERROR_STAGE: Final = "forebay.error.stage"
ERROR_KIND: Final = "forebay.error.kind"
ERROR_MESSAGE: Final = "forebay.error.message"
ERROR_TOPIC: Final = "forebay.error.topic"
ERROR_PARTITION: Final = "forebay.error.partition"
ERROR_OFFSET: Final = "forebay.error.offset"
ERROR_TIMESTAMP: Final = "forebay.error.timestamp"
"""The timestamp of the original record, ms since the Unix epoch; -1 if it has none."""
ERROR_MODEL: Final = "forebay.error.model"
ERROR_VERSION: Final = "forebay.error.version"
ERROR_LAST_OFFSET: Final = "forebay.error.last-offset"
"""Only if a dead letter stands for several unreadable records: the offset of the last one. `forebay.error.offset` is then the
offset of the first."""
ERROR_COUNT: Final = "forebay.error.count"
"""Only if a dead letter stands for several unreadable records: the number of records."""
ERROR_ROW: Final = "forebay.error.row"
"""Only if the original record holds several events: the row of this one, from 0. The value is then this row alone."""
ERROR_TRUNCATED: Final = "forebay.error.truncated"
"""Only if the value was truncated: `<size of the original value in bytes> sha256:<its digest in hex>`; or if personal data in
the event was replaced: `<size> masked`."""
ERROR_WINDOW: Final = "forebay.error.window"
"""Only if a window failed, not an event: `<start>-<end>`, ms since the Unix epoch. The value is then the window."""

# ---- on events that `forebay dlq replay` published, copied to their predictions and further dead letters
# Every producer can write these headers, so they prove nothing by themselves: see stream/dlq/replay_history.py

REPLAY_COUNT: Final = "forebay.replay.count"
"""How many times the event was replayed, decimal text."""
REPLAY_FROM: Final = "forebay.replay.from"
"""The dead letter that the event was replayed from: `<topic>-<partition>@<offset>`."""

# ---- on audit

AUDIT_SHA256: Final = "forebay.audit.sha256"
"""SHA-256 of the value, in hexadecimal: what the next block of the chain names."""
AUDIT_SIGNATURE: Final = "forebay.audit.signature"
"""Only on checkpoints: the signature, in binary, of `forebay-audit1`, a zero byte, and the 32 bytes of the digest."""

# ---- media types

JSON_CONTENT_TYPE: Final = "application/json"
F32_CONTENT_TYPE: Final = "application/x-forebay-f32"
"""The value is one little-endian float32 for each feature, in the order of the model's signature."""
KAFKA_RECORD_CONTENT_TYPE: Final = "application/x-forebay-kafka-record"
"""The value is an unreadable record as a record batch of format 2 holds it, without its length."""
KAFKA_BATCH_CONTENT_TYPE: Final = "application/x-forebay-kafka-batch"
"""The value is a whole record batch as stored in the log: compressed, with its header."""
