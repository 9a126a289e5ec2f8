"""Read [[models]]: flatten its tables into single settings, merge them, and build the entries.

A source that contains the list replaces the list of earlier sources; single settings such as "models[1].version" override
settings of the list. The raw value of "models" is the number of entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forebay.stream.config.json_value import parse_json
from forebay.stream.config.models_section import ModelEntry
from forebay.stream.config.names import hint_for_entry_key
from forebay.stream.config.paths import MODELS, SUBSECTIONS, entry_fields, entry_index
from forebay.stream.config.section_builder import RawValue, SectionBuilder
from forebay.stream.core.quantities import quantity

_MUST_BE_LIST = "must be a list of tables: write [[models]] above the settings of each model"
_MUST_BE_JSON = 'must be a JSON list of objects, such as [{"name": "a"}, {"name": "b", "topics": ["b-events"]}]'


def flatten_models(
    value: object, origin: str, problems: list[str], place: Callable[[str], str] | None = None
) -> dict[str, RawValue]:
    """Return the settings of a list of tables by key.

    place: returns the origin of a key; None if all keys have the same.
    """
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        problems.append(f"{MODELS} ({origin}): {_MUST_BE_LIST if place else _MUST_BE_JSON}")
        return {}
    place_of = place or (lambda _key: origin)
    raw = {MODELS: RawValue(len(value), origin)}
    for index, table in enumerate(value):
        entry = f"{MODELS}[{index}]"
        raw[entry] = RawValue(None, place_of(entry))
        _flatten(entry, table, place_of=place_of, raw=raw, problems=problems)
    return raw


def _flatten(
    path: str,
    table: Mapping[str, object],
    *,
    place_of: Callable[[str], str],
    raw: dict[str, RawValue],
    problems: list[str],
) -> None:
    name = path.rpartition(".")[2] if "." in path else ""
    known = SUBSECTIONS[name].model_fields if name else entry_fields()
    for key, value in table.items():
        full = f"{path}.{key}"
        if key in known:
            raw[full] = RawValue(value, place_of(full))
        elif name or key not in SUBSECTIONS:
            # The value is not shown: it may be a secret under a misspelt name.
            problems.append(f"{full} ({place_of(full)}): unknown key{hint_for_entry_key(name, key)}")
        elif isinstance(value, dict):
            _flatten(full, value, place_of=place_of, raw=raw, problems=problems)
        else:
            problems.append(f"{full} ({place_of(full)}): must be a table: write [{MODELS}.{key}], with its keys below")


def parse_models(value: object, origin: str, problems: list[str]) -> dict[str, RawValue]:
    """Return the settings of a list in JSON, as in the environment and on the command line. Empty text is an empty list."""
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.strip() else []
        except ValueError as error:
            problems.append(f"{MODELS} ({origin}): {_MUST_BE_JSON} ({error})")
            return {}
    return flatten_models(value, origin, problems)


def override_models(earlier: Mapping[str, RawValue], later: Mapping[str, RawValue]) -> dict[str, RawValue]:
    """Return the values of two sources; the later overrides the earlier."""
    if MODELS in later:
        earlier = {key: value for key, value in earlier.items() if not key.startswith(f"{MODELS}[")}
    return {**earlier, **later}


def report_missing_models(raw: dict[str, RawValue], problems: list[str]) -> None:
    """Remove and report settings of models that are not in the list."""
    count = _count(raw)
    for key in list(raw):
        index = entry_index(key)
        if index is not None and index >= count:
            has = "is not set" if not count else f"has {quantity(count, 'model')}, numbered from 0"
            problems.append(f"{key} ({raw[key].origin}): there is no such model: [[{MODELS}]] {has}")
            del raw[key]


def build_models(builder: SectionBuilder) -> tuple[ModelEntry, ...]:
    """Return the entries, with defaults in place of invalid values."""
    entries = []
    for index in range(_count(builder.raw)):
        path = f"{MODELS}[{index}]"
        parts = {name: builder.build(f"{path}.{name}", section) for name, section in SUBSECTIONS.items()}
        entries.append(builder.build(path, ModelEntry, fallbacks={"name": "default"}, **parts))
    return tuple(entries)


def _count(raw: Mapping[str, RawValue]) -> int:
    count = raw[MODELS].value if MODELS in raw else 0
    assert isinstance(count, int)
    return count
