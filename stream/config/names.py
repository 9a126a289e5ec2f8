"""The names of settings, in the file and in the environment, and the nearest one to a name that is none."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

from forebay.stream.config.sections import section_types

ENVIRONMENT_PREFIX: Final = "FOREBAY_"
LOG_VARIABLE: Final = "FOREBAY_LOG"
"""Another name of log.level, in the manner of other programs (RUST_LOG, VECTOR_LOG)."""
_NOT_SETTINGS: Final = frozenset({"FOREBAY_CONFIG"})
_NEAR: Final = 0.6
_VERY_NEAR: Final = 0.85


def environment_name(key: str) -> str:
    """The variable that sets "section.key"."""
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def is_ours(name: str) -> bool:
    """Whether a variable is meant as a setting.

    Kubernetes gives every pod beside a service called forebay, or forebay-model, such variables as FOREBAY_PORT,
    FOREBAY_MODEL_SERVICE_HOST: without the double underscore a name counts only if it is nearly one of ours.
    """
    if name in _NOT_SETTINGS:
        return False
    return "__" in name or _single_underscored(name) is not None


def hint_for_environment(name: str) -> str:
    """The end of a sentence about the unknown variable `name`; empty where no name is near."""
    nearest = _single_underscored(name)
    if nearest is None:
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
        nearest = _nearest_key(key)
    return f"; did you mean {environment_name(nearest)}?" if nearest else ""


def hint_for_key(name: str) -> str:
    """The end of a sentence about the unknown section, key or "section.key"; empty where none is near."""
    types = section_types()
    section, _, key = name.rpartition(".")
    if section in types:
        elsewhere = [other for other, fields in types.items() if key in fields.model_fields]
        near = get_close_matches(key, types[section].model_fields, n=1, cutoff=_NEAR)
        if elsewhere and not near:
            return f"; {key} belongs to [{elsewhere[0]}]"
        if near:
            return f"; did you mean {near[0]}?"
    if not section:
        near = get_close_matches(name, types, n=1, cutoff=_NEAR)
        if near:
            return f"; did you mean [{near[0]}]?"
        elsewhere = [other for other, fields in types.items() if name in fields.model_fields]
        if elsewhere:
            return f"; {name} belongs to [{elsewhere[0]}]"
        key = name
    nearest = _nearest_key(f"{section}.{key}" if section else key)
    return f"; did you mean {nearest}?" if nearest else ""


def _nearest_key(name: str) -> str | None:
    keys = _keys()
    near = get_close_matches(name, keys, n=1, cutoff=_NEAR)
    if near:
        return near[0]
    bare = {key.partition(".")[2]: key for key in keys}
    found = get_close_matches(name.rpartition(".")[2], bare, n=1, cutoff=_NEAR)
    return bare[found[0]] if found else None


def _single_underscored(name: str) -> str | None:
    """The key that is meant by a name with one underscore after the section."""
    rest = name.removeprefix(ENVIRONMENT_PREFIX)
    match = re.fullmatch(rf"({'|'.join(section_types())})_(?!_)(.+)", rest, re.IGNORECASE)
    if match is None:
        return None
    section, key = match[1].lower(), match[2].lower()
    near = get_close_matches(key, section_types()[section].model_fields, n=1, cutoff=_VERY_NEAR)
    return f"{section}.{near[0]}" if near else None


def _keys() -> list[str]:
    return [f"{name}.{key}" for name, section in section_types().items() for key in section.model_fields]
