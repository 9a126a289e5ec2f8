"""The names of all record headers that Forebay reads or writes. Names are compared without regard to case."""

from __future__ import annotations

from typing import Final

CONTENT_TYPE: Final = "content-type"
"""The media type of the value. Without it the value is JSON."""

TRACEPARENT: Final = "traceparent"
"""W3C trace context: carried from an event to its prediction or dead letter as it came. On an outcome delta it is that of the
micro-batch's span, where that is traced."""

# ---- on events whose value is raw float32, which has no room for these

ID: Final = "forebay-id"
"""The event's id, UTF-8. Without it the record key is the id."""

TIMESTAMP: Final = "forebay-timestamp"
"""The event's time: decimal milliseconds since the Unix epoch. Without it the record's timestamp is taken."""

MODEL: Final = "forebay-model"
"""The name of the model that the event is meant for."""

DEADLINE_MS: Final = "forebay-deadline-ms"
"""From when on nobody wants a prediction: decimal milliseconds since the Unix epoch."""

EVENT_PREFIX: Final = "forebay-"
"""How the names begin that describe the event itself; predictions do not carry these on."""

# ---- on dead letters; numbers are decimal text, all values are UTF-8

ERROR_PREFIX: Final = "forebay.error."
ERROR_STAGE: Final = "forebay.error.stage"
ERROR_KIND: Final = "forebay.error.kind"
ERROR_MESSAGE: Final = "forebay.error.message"
ERROR_TOPIC: Final = "forebay.error.topic"
ERROR_PARTITION: Final = "forebay.error.partition"
ERROR_OFFSET: Final = "forebay.error.offset"
ERROR_TIMESTAMP: Final = "forebay.error.timestamp"
"""The timestamp of the original record, ms since the Unix epoch; -1 where it has none."""
ERROR_MODEL: Final = "forebay.error.model"
ERROR_VERSION: Final = "forebay.error.version"
ERROR_LAST_OFFSET: Final = "forebay.error.last-offset"
"""Only where a letter stands for several records that cannot be read: the offset of the last. `forebay.error.offset` is then
that of the first."""
ERROR_COUNT: Final = "forebay.error.count"
"""Only there: how many records they are."""
ERROR_TRUNCATED: Final = "forebay.error.truncated"
"""Only where the value was cut: `<size of the original value in bytes> sha256:<its digest in hex>`."""
ERROR_WINDOW: Final = "forebay.error.window"
"""Only where a window failed and not an event: `<start>-<end>`, ms since the Unix epoch. The value is then the window."""

# ---- on events that `forebay dlq replay` published, carried on to their predictions and further dead letters
# Every producer can write them, so by themselves they prove nothing: see stream/dlq/replay_history.py

REPLAY_COUNT: Final = "forebay.replay.count"
"""How many times the event was replayed, decimal text."""
REPLAY_FROM: Final = "forebay.replay.from"
"""The dead letter that it was replayed from: `<topic>-<partition>@<offset>`."""

# ---- media types

JSON_CONTENT_TYPE: Final = "application/json"
F32_CONTENT_TYPE: Final = "application/x-forebay-f32"
"""The value is one little-endian float32 for each feature, in the order of the model's signature."""
KAFKA_RECORD_CONTENT_TYPE: Final = "application/x-forebay-kafka-record"
"""The value is a record that could not be read, as a record batch of format 2 holds it, without its length."""
KAFKA_BATCH_CONTENT_TYPE: Final = "application/x-forebay-kafka-batch"
"""The value is a whole record batch, as the log holds it: compressed, with its header."""
