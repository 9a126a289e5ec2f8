"""The keys of settings: "section.key", and of models "models[0].key" and "models[0].batch.key"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydantic.fields import FieldInfo

from forebay.stream.config.models_section import BatchOverrides, ModelEntry
from forebay.stream.config.sections import DecisionSection, Section, Settings, WindowSection, section_types

MODELS: Final = "models"
SUBSECTIONS: Final[dict[str, type[Section]]] = {
    "batch": BatchOverrides,
    "window": WindowSection,
    "decision": DecisionSection,
}
"""The tables within an entry of [[models]]."""

_ENTRY_KEY: Final = re.compile(rf"{MODELS}\[(0|[1-9][0-9]{{0,5}})\]\.(?:(batch|window|decision)\.)?([A-Za-z0-9_]+)")


def entry_fields() -> dict[str, FieldInfo]:
    """Return the fields of an entry of [[models]], without its tables."""
    return {key: field for key, field in ModelEntry.model_fields.items() if key not in SUBSECTIONS}


def entry_keys(count: int, *, start: int = 0) -> Iterator[str]:
    """Yield all keys of the entries with an index from `start` to below `count`, each entry's tables last."""
    for index in range(start, count):
        yield from (f"{MODELS}[{index}].{key}" for key in entry_fields())
        for name, section in SUBSECTIONS.items():
            yield from (f"{MODELS}[{index}].{name}.{key}" for key in section.model_fields)


def is_entry_key(key: str) -> bool:
    """Return whether the text is the key of a setting of a model; there need not be such a model."""
    return _entry_field(key) is not None


def entry_index(key: str) -> int | None:
    """Return the index of the model to which a key belongs; None for other keys."""
    match = _ENTRY_KEY.fullmatch(key)
    return int(match[1]) if match else None


def field_of(key: str) -> FieldInfo:
    """Return the field of an existing setting."""
    if (field := _entry_field(key)) is not None:
        return field
    name, _, rest = key.partition(".")
    return section_types()[name].model_fields[rest]


def value_of(settings: Settings, key: str) -> object:
    """Return the value of an existing setting; of a model, as it was written."""
    if match := _ENTRY_KEY.fullmatch(key):
        entry = settings.models[int(match[1])]
        return getattr(getattr(entry, match[2]) if match[2] else entry, match[3])
    name, _, rest = key.partition(".")
    return getattr(getattr(settings, name), rest)


def _entry_field(key: str) -> FieldInfo | None:
    match = _ENTRY_KEY.fullmatch(key)
    if match is None:
        return None
    fields = SUBSECTIONS[match[2]].model_fields if match[2] else entry_fields()
    return fields.get(match[3])
