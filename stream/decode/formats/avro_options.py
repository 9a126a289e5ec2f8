"""Avro schemas from files that the settings name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from forebay.schemas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class AvroOptions:
    """Texts of schemas.

    schemas: of events that no registry names. readers: by full name of the topic, the schema to read its events as.
    """

    schemas: tuple[str, ...] = ()
    readers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def load_avro_options(schemas: Sequence[str], readers: Mapping[str, str], *, prefix: str) -> AvroOptions:
    """Read the files and check their schemas. Raises ConfigError that names the file.

    schemas: paths. readers: paths by topic. prefix: of the names of all topics.
    """
    texts = tuple(_schema(path, "input.avro_schemas", is_reader=False) for path in schemas)
    by_topic = {
        f"{prefix}{topic}": _schema(path, f"input.reader_schemas, {topic}", is_reader=True)
        for topic, path in readers.items()
    }
    return AvroOptions(texts, by_topic)


def _schema(path: str, place: str, *, is_reader: bool) -> str:
    from forebay.stream.decode.formats.avro import AvroFormat
    from forebay.stream.decode.formats.payload import InvalidPayload

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{place}: {path} cannot be read: {reason}", remedy="name a file with an Avro schema (.avsc)"
        ) from None
    try:
        AvroFormat(text, text if is_reader else None)
    except InvalidPayload as fault:
        raise ConfigError(f"{place}: {path}: {fault.message}", remedy="correct the schema in the file") from None
    return text
