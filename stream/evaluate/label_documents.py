"""Labels of any producer: payloads of any format become labels with Forebay's fields, by the mapping of their topic."""

from __future__ import annotations

from typing import Final

from forebay.stream.config.input_mapping import MappingTable, ValueSource, parse_source
from forebay.stream.config.sections import InputSection
from forebay.stream.core.records import Record
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.decode.formats.json_documents import json_object
from forebay.stream.decode.mapping.documents import plain_value, value_of
from forebay.stream.decode.mapping.times import milliseconds_of

_TEXTS: Final = ("id", "key", "model")
_RECORD_TIME: Final = (ValueSource("field", path=("timestamp",)), ValueSource("record"))


class LabelDocuments:
    """Reads records of the labels' topic as labels.

    topic: the full name. choice: knows its format. table: its mapping.
    """

    def __init__(self, topic: str, choice: FormatChoice, table: MappingTable) -> None:
        self._topic = topic
        self._choice = choice
        self._sources = {
            name: parse_source(text)
            for name in ("label", *_TEXTS)
            if (text := getattr(table, name)) is not None and text != "record"
        }
        self._times = _RECORD_TIME if table.timestamp is None else (parse_source(table.timestamp),)
        self._unit = "ms" if table.timestamp_unit == "auto" else table.timestamp_unit

    def document(self, record: Record) -> dict[str, object]:
        """Return a label. Raises InvalidPayload, or InvalidFeatures for a timestamp that is not one."""
        value = record.value or b""
        choice = self._choice.choose(record, self._topic)
        payload = json_object(value) if choice.format is None else choice.format.document(value[choice.start :])
        label = dict(payload)
        for name, source in self._sources.items():
            found = plain_value(value_of(payload, record, source))
            if isinstance(found, bytes):
                found = found.decode(errors="replace")
            if found is None:
                label.pop(name, None)
            else:
                label[name] = found
        for source in self._times:
            time = value_of(payload, record, source)
            if time is not None:
                unit = "ms" if source.kind == "record" else self._unit
                label["timestamp"] = milliseconds_of(time, "timestamp", unit)
                break
        return label


def label_documents(section: InputSection, topic: str, *, prefix: str) -> LabelDocuments | None:
    """Return what reads the labels; None for JSON with Forebay's fields. topic: without the prefix."""
    table, name = section.mappings.get(topic), section.formats.get(topic)
    if table is None and name is None:
        return None
    full = f"{prefix}{topic}"
    choice = FormatChoice(FormatSettings(name or "auto", mapped=frozenset({full})), None)
    return LabelDocuments(full, choice, table or MappingTable())
