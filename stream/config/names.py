"""Names of settings in the file and the environment, and hints for unknown names."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

from forebay.stream.config.paths import MODELS, SUBSECTIONS, entry_fields
from forebay.stream.config.sections import section_types

ENVIRONMENT_PREFIX: Final = "FOREBAY_"
LOG_VARIABLE: Final = "FOREBAY_LOG"
"""A second variable for log.level, similar to RUST_LOG and VECTOR_LOG."""
_NOT_SETTINGS: Final = frozenset({"FOREBAY_CONFIG", "FOREBAY_CACHE_DIR", "FOREBAY_NATIVE"})
_ENTRY_KEY: Final = re.compile(rf"{MODELS}\[[0-9]+\]\.(?:({'|'.join(SUBSECTIONS)})\.)?(.+)")
_NEAR: Final = 0.6
_VERY_NEAR: Final = 0.85


def environment_name(key: str) -> str:
    """Return the variable that sets "section.key"."""
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def is_ours(name: str) -> bool:
    """Return whether a variable is meant as a setting.

    In a namespace with a service called forebay or forebay-model, Kubernetes gives every pod variables such as FOREBAY_PORT
    and FOREBAY_MODEL_SERVICE_HOST. Without a double underscore, a name counts only if it is close to a setting's name.
    """
    if name in _NOT_SETTINGS:
        return False
    return "__" in name or _single_underscored(name) is not None


def hint_for_environment(name: str) -> str:
    """Return a hint to append to the error about an unknown variable; empty if no name is similar."""
    if name.startswith(f"{environment_name(MODELS)}__"):
        return f"; {environment_name(MODELS)} sets all models, as a JSON list"
    nearest = _single_underscored(name)
    if nearest is None:
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
        nearest = _nearest_key(key)
    return f"; did you mean {environment_name(nearest)}?" if nearest else ""


def hint_for_key(name: str) -> str:
    """Return a hint to append to the error about an unknown section, key or "section.key"; empty if none is similar."""
    types = section_types()
    if match := _ENTRY_KEY.fullmatch(name):
        return hint_for_entry_key(match[1] or "", match[2])
    section, _, key = name.rpartition(".")
    if section in types:
        elsewhere = [other for other, fields in types.items() if key in fields.model_fields]
        near = get_close_matches(key, types[section].model_fields, n=1, cutoff=_NEAR)
        if elsewhere and not near:
            return f"; {key} belongs to [{elsewhere[0]}]"
        if near:
            return f"; did you mean {near[0]}?"
    if not section:
        near = get_close_matches(name, [*types, MODELS], n=1, cutoff=_NEAR)
        if near:
            return f"; did you mean {f'[[{MODELS}]]' if near == [MODELS] else f'[{near[0]}]'}?"
        elsewhere = [other for other, fields in types.items() if name in fields.model_fields]
        if elsewhere:
            return f"; {name} belongs to [{elsewhere[0]}]"
        key = name
    nearest = _nearest_key(f"{section}.{key}" if section else key)
    return f"; did you mean {nearest}?" if nearest else ""


def hint_for_entry_key(table: str, key: str) -> str:
    """Return a hint to append to the error about an unknown key of [[models]]; empty if none is similar.

    table: "batch" or "window" for a key within this table of an entry, or empty.
    """
    fields = SUBSECTIONS[table].model_fields if table else entry_fields() | dict.fromkeys(SUBSECTIONS)
    for name, section in SUBSECTIONS.items():
        if key in section.model_fields:
            return f"; {key} belongs to [{MODELS}.{name}]"
    near = get_close_matches(key, fields, n=1, cutoff=_NEAR)
    if near:
        return f"; did you mean {near[0]}?"
    if key in entry_fields():
        return f"; {key} belongs to [[{MODELS}]], above [{MODELS}.{table}]"
    elsewhere = [other for other, section in section_types().items() if key in section.model_fields]
    if elsewhere:
        return f"; {key} belongs to [{elsewhere[0]}] and applies to all models"
    return f"; the keys are {', '.join(fields)}"


def _nearest_key(name: str) -> str | None:
    keys = _keys()
    near = get_close_matches(name, keys, n=1, cutoff=_NEAR)
    if near:
        return near[0]
    bare = {key.partition(".")[2]: key for key in keys}
    near = get_close_matches(name.rpartition(".")[2], bare, n=1, cutoff=_NEAR)
    return bare[near[0]] if near else None


def _single_underscored(name: str) -> str | None:
    """Return the key for a variable with one underscore after the section instead of two; None if none is similar."""
    rest = name.removeprefix(ENVIRONMENT_PREFIX)
    match = re.fullmatch(rf"({'|'.join(section_types())})_(?!_)(.+)", rest, re.IGNORECASE)
    if match is None:
        return None
    section, key = match[1].lower(), match[2].lower()
    near = get_close_matches(key, section_types()[section].model_fields, n=1, cutoff=_VERY_NEAR)
    return f"{section}.{near[0]}" if near else None


def _keys() -> list[str]:
    return [f"{name}.{key}" for name, section in section_types().items() for key in section.model_fields]
