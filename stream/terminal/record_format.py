"""Format records of Forebay's topics as text or JSON. Accepts any bytes and never raises."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson

from forebay.schemas import headers as names
from forebay.schemas.topics import TopicKey
from forebay.stream.core.records import Record, TopicPartition, Unreadable
from forebay.stream.core.time_format import local_time, utc_minute

_SHOWN_CHARS: Final = 120
_SHOWN_VALUES: Final = 6
# Errors that the formatters raise for values of an unexpected form.
_NOT_EXPECTED: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, struct.error)


def as_line(kind: TopicKey, partition: TopicPartition, record: Record, *, unread: str | None = None) -> str:
    """Return one line of text without control characters, whatever the record contains.

    unread: why the value cannot be read, if it cannot.
    """
    headers = {name.lower(): value or b"" for name, value in record.headers}
    if isinstance(record, Unreadable):
        rest = f"(cannot be read) {record.description}  {_bytes(record.value)}"
        return printable(f"{local_time(record.timestamp)}  {partition.partition}@{record.first_offset}  {rest}")
    try:
        rest = _LINES[kind](record, headers)
    except _NOT_EXPECTED:
        why = "unexpected content" if unread is None else shortened(unread)
        rest = f"({why}) key {_bytes(record.key)}  {_bytes(record.value)}"
    return printable(f"{local_time(record.timestamp)}  {partition.partition}@{record.offset}  {rest}")


def as_json(partition: TopicPartition, record: Record, *, about: Mapping[str, object] = MappingProxyType({})) -> bytes:
    """Return a JSON object with the record's position, key, headers and value (in base64 if it is not JSON).

    about: further fields, such as the format of the value.

    For records that cannot be read, `unreadable` holds the reason, the last offset and the number of records.
    """
    document: dict[str, object] = {
        "topic": partition.topic,
        "partition": partition.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else bytes_as_text(record.key),
        "headers": headers_as_json(record.headers),
        **about,
    }
    if isinstance(record, Unreadable):
        document |= {
            "offset": record.first_offset,
            "unreadable": {
                "kind": record.kind.value,
                "message": record.message,
                "last_offset": record.offset,
                "count": record.count,
            },
        }
    return with_value(document, record.value)


def headers_as_json(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str | list[str | None] | None]:
    """Return header values by name; a repeated name has a list of its values, in order."""
    values: dict[str, list[str | None]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(None if value is None else bytes_as_text(value))
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}


def with_value(document: Mapping[str, object], value: bytes | None) -> bytes:
    """Return `document` as JSON with the value: parsed if it is JSON that can be serialised again, else in base64."""
    try:
        return orjson.dumps({**document, "value": None if value is None else orjson.loads(value)})
    except (ValueError, TypeError):  # TypeError: nested deeper than orjson can write, although it can read it
        encoded = base64.b64encode(value or b"").decode()
        return orjson.dumps({**document, "value": None, "value_base64": encoded})


def _prediction(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    answer = value.get("label")
    if answer is None and value.get("class") is not None:
        answer = f"class {value['class']}"
    confidence = value.get("confidence")
    percentage = "" if confidence is None else f" ({float(confidence):.1%})"
    scores = _numbers(value["prediction"])
    output = f"{answer}{percentage}  {scores}" if answer is not None else scores
    source = value["source"]
    place = f"{source['topic']} {source['partition']}@{source['offset']}"
    if value.get("window"):
        place = f"{value['window']['events']} events of {place}"
    abstained = f"  abstains: {value['reason']}" if value.get("decision") == "abstain" else ""
    return f"{value['id']}  →  {output}{abstained}  {value['model']} v{value['version']}  from {place}"


def _dead_letter(record: Record, headers: Mapping[str, bytes]) -> str:
    def header(name: str) -> str:
        return headers[name].decode("utf-8", "replace")

    place = f"{header(names.ERROR_TOPIC)} {header(names.ERROR_PARTITION)}@{header(names.ERROR_OFFSET)}"
    model = f"  {header(names.ERROR_MODEL)} v{header(names.ERROR_VERSION)}" if names.ERROR_MODEL in headers else ""
    why = f"{header(names.ERROR_STAGE)}/{header(names.ERROR_KIND)}: {header(names.ERROR_MESSAGE)}"
    return f"{why}{model}  from {place}  {_bytes(record.value)}"


def _rollout(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    canaries = [f"canary v{canary['version']}" for canary in value["canaries"]]
    shadows = [f"shadow v{shadow['version']}" for shadow in value["shadows"]]
    versions = ", ".join([f"stable v{value['stable']}", *canaries, *shadows])
    author = f"{value['author']}{' (automatic)' if value['automatic'] else ''}"
    reason = f": {shortened(value['reason'])}" if value["reason"] else ""
    return f"{value['model']} revision {value['number']}  {value['action']}  {versions}  by {author}{reason}"


def _switch(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    place = f"{value['topic']} {value['partition']}@{value['first_offset']}"
    return f"{value['model']} revision {value['revision']} from {place}  by {value['worker']}"


def _shadow_prediction(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    source = value["source"]
    sides = [f"v{side['version']}: {_side(side)}" for side in (value["primary"], value["shadow"])]
    place = f"{source['topic']} {source['partition']}@{source['offset']}"
    return f"{value['id']}  →  {sides[0]}  shadow {sides[1]}  {value['model']}  from {place}"


def _side(side: Mapping[str, Any]) -> str:
    if side["prediction"] is None:
        return str(side["failure"])
    answer = side["label"] if side["label"] is not None or side["class"] is None else f"class {side['class']}"
    return f"{'' if answer is None else f'{answer} '}{_numbers(side['prediction'])}"


def _label(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    name = next((str(value[field]) for field in ("id", "source", "key") if field in value), _bytes(record.key))
    model = f"  {value['model']}" if "model" in value else ""
    return f"{name}  is  {value['label']}{model}  known {local_time(value['timestamp'])}"


def _quality(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    window = f"window {utc_minute(value['window_start'])}"
    part = f"  {value['slice']}" if value["slice"] else ""
    if sums := value.get("sums"):
        counted = f"{sums['predictions']:+,} predictions, {sums['matched']:+,} with a label"
        return f"{window}  {value['model']} v{value['version']}{part}  {counted}"
    if labels := value.get("labels"):
        counted = f"{labels['labels']:+,} labels, {labels['used']:+,} used, {labels['refused']:+,} refused"
        return f"{window}  {value['model']}  {counted}"
    return f"{window}  {value['model']} v{value['version']}{part}"


def _drift(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    counted = f"{value['rows']:,} of {value['seen']:,} rows, {len(value['columns'])} columns"
    return f"window {utc_minute(value['window_start'])}  {value['model']} v{value['version']}  {counted}"


def _audit(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    if "action" in value:
        action = value["action"]
        origin = f" from {action['origin']}" if action["origin"] else ""
        return f"{value['group']} {action['name']} by {action['actor']}{origin}  {orjson.dumps(action['details']).decode()}"
    chain = f"{value['group']} {value['topic']}-{value['partition']}"
    signed = "  signed" if names.AUDIT_SIGNATURE in headers else ""
    return f"{chain}  block {value['sequence']:,}  {value['rows']:,} outcomes before {value['next_offset']:,}{signed}"


def _delta(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    return f"{_counted(value)}{_ids(value)}"


def _aggregate(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    rate = "" if value["rate"] is None else f"  {value['rate']:.2%} of {value['events']:,}"
    state = f"  revision {value['revision']}{', final' if value['final'] else ''}"
    return f"{_counted(value)}{rate}{state}{_ids(value)}"


def _counted(value: Mapping[str, Any]) -> str:
    minute = utc_minute(value["window_start"])
    why = "" if value["outcome"] == value["kind"] else f"  {value['stage']}/{value['kind']}"
    return f"minute {minute}  {value['count']:>7,} {value['outcome']}{why}  {value['model']} v{value['version']}"


def _ids(value: Mapping[str, Any]) -> str:
    return f"  ids {', '.join(map(str, value['sample_ids']))}" if value["sample_ids"] else ""


def _alert(record: Record, headers: Mapping[str, bytes]) -> str:
    value = _object(record.value)
    return f"{value['status']}  {value['severity']}  {value['message']}"


def _event(record: Record, headers: Mapping[str, bytes]) -> str:
    key = "" if record.key is None else f"key {_bytes(record.key)}  "
    data = record.value
    if data is None:
        return f"{key}(tombstone)"
    if headers.get(names.CONTENT_TYPE, b"").split(b";")[0].strip().lower() == names.F32_CONTENT_TYPE.encode():
        values = struct.unpack(f"<{len(data) // 4}f", data)
        event_id = headers.get(names.ID, record.key or b"").decode("utf-8", "replace")
        return f"{key}id {event_id}  float32 {_numbers(values)}"
    value = _object(data)
    if "id" not in value or ("features" not in value and "input" not in value):
        return f"{key}{shortened(orjson.dumps(value).decode())}"
    features = value["features"] if "features" in value else value["input"]
    return f"{key}id {value['id']}  {shortened(orjson.dumps(features).decode())}"


_LINES: Final[Mapping[TopicKey, Callable[[Record, Mapping[str, bytes]], str]]] = MappingProxyType(
    {
        "predictions": _prediction,
        "dead-letters": _dead_letter,
        "late-events": _dead_letter,
        "review": _prediction,
        "rollouts": _rollout,
        "rollout-switches": _switch,
        "shadow-predictions": _shadow_prediction,
        "labels": _label,
        "quality": _quality,
        "drift": _drift,
        "audit": _audit,
        "outcome-deltas": _delta,
        "features": _event,
        "error-aggregates": _aggregate,
        "alerts": _alert,
    }
)


def _object(value: bytes | None) -> dict[str, Any]:
    document = orjson.loads(value or b"")
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def _numbers(values: Sequence[float]) -> str:
    shown = ", ".join(f"{float(value):.4g}" for value in values[:_SHOWN_VALUES])
    return f"[{shown}{f', … {len(values)} in total' if len(values) > _SHOWN_VALUES else ''}]"


def _bytes(value: bytes | None) -> str:
    if value is None:
        return "(none)"
    head = value[: 4 * _SHOWN_CHARS]
    size = f" ({len(value):,} bytes)" if len(value) > 4 * _SHOWN_CHARS else ""
    if b"\0" in head:
        return f"0x{shortened(head.hex())}{size or f' ({len(value):,} bytes)'}"
    return shortened(head.decode("utf-8", "backslashreplace")) + size


def bytes_as_text(value: bytes) -> str:
    """Decode UTF-8, with invalid bytes as escapes."""
    return value.decode("utf-8", "backslashreplace")


def shortened(text: str, max_chars: int = _SHOWN_CHARS) -> str:
    """Cut text to `max_chars` characters; an ellipsis replaces the rest."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def printable(text: str) -> str:
    """Escape control characters: untrusted bytes must not control the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
