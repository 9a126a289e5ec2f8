"""Good and bad example records of every kind, one in each file: for people to copy, and for the tests of every reader.

A file in good/ has `what` (a sentence), `schema` (the definition that it satisfies), and the record; events also have
`decoded`, the decoded event. A file in bad/ has `why`, the failure `kind` that it causes, `found_by_schema`
(whether the JSON Schema alone rejects it), and the record. A record is:

- `value` (any JSON value, sent as JSON), or `value_text` (text, sent unchanged), or `value_base64` (bytes; null for
  a record without a value);
- optionally `key` or `key_base64`, `headers` (an object of text), `timestamp` (the record's, ms since the Unix epoch).

The events are for a model named MODEL with the signature in signature.json, with input.max_event_bytes at MAX_EVENT_BYTES
and input.max_key_bytes at MAX_KEY_BYTES. The predictions in good/ name other models too, to show every task.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from forebay.schemas.failures import FailureKind

MODEL: Final = "flight-delay"
MAX_EVENT_BYTES: Final = 1024
MAX_KEY_BYTES: Final = 256
RECORD_TIMESTAMP_MS: Final = 1_372_636_800_000
"""The timestamp of records whose file has none: 2013-07-01T00:00:00Z."""

SIGNATURE_FILE: Final = Path(__file__).parent / "signature.json"


@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoded form of an event.

    timestamp, deadline_ms: ms since the Unix epoch.
    features: F values; None for a missing value.
    """

    id: str
    timestamp: int
    features: tuple[float | None, ...]
    key: str | None = None
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One example record.

    text: what it shows.
    timestamp: the record's timestamp, ms since the Unix epoch.
    kind: the failure kind; None for a good record.
    found_by_schema: whether the JSON Schema alone rejects it.
    decoded: the decoded event; None unless the record is a good event.
    """

    name: str
    schema: str
    text: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int
    kind: FailureKind | None
    found_by_schema: bool
    decoded: Decoded | None

    def __str__(self) -> str:
        return self.name

    def instance(self) -> object:
        """Return what the schema describes: the value parsed as JSON; for raw events, dead letters and late events the headers.

        Raises ValueError if the value is not JSON.
        """
        if self.schema in ("event-f32", "dead-letter", "late-event"):
            return {name: value.decode() for name, value in self.headers}
        return json.loads(self.value or b"", parse_constant=_refuse_constant)


def good_examples() -> tuple[Example, ...]:
    """Return the examples in good/, sorted by name."""
    return tuple(_read(path) for path in sorted(SIGNATURE_FILE.parent.joinpath("good").glob("*.json")))


def bad_examples() -> tuple[Example, ...]:
    """Return the examples in bad/, sorted by name."""
    return tuple(_read(path) for path in sorted(SIGNATURE_FILE.parent.joinpath("bad").glob("*.json")))


def signature() -> dict[str, Any]:
    """Return the signature of the model that the events are for, as JSON values."""
    value: dict[str, Any] = json.loads(SIGNATURE_FILE.read_text(encoding="utf-8"))
    return value


def _read(path: Path) -> Example:
    file: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    bad = path.parent.name == "bad"
    decoded = file.get("decoded")
    return Example(
        name=path.stem,
        schema=file["schema"],
        text=file["why" if bad else "what"],
        key=_bytes(file, "key"),
        value=_bytes(file, "value"),
        headers=tuple((name, value.encode()) for name, value in file.get("headers", {}).items()),
        timestamp=file.get("timestamp", RECORD_TIMESTAMP_MS),
        kind=FailureKind(file["kind"]) if bad else None,
        found_by_schema=bad and file["found_by_schema"],
        decoded=None if decoded is None else Decoded(**{**decoded, "features": tuple(decoded["features"])}),
    )


def _bytes(file: Mapping[str, Any], name: str) -> bytes | None:
    if f"{name}_base64" in file:
        encoded = file[f"{name}_base64"]
        return None if encoded is None else base64.b64decode(encoded)
    if f"{name}_text" in file:
        return str(file[f"{name}_text"]).encode()
    if name not in file:
        return None
    if name == "key":
        return str(file[name]).encode()
    return json.dumps(file[name], ensure_ascii=False, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
