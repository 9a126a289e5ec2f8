"""Print the settings in force as TOML with origins, or as JSON. Secrets are hidden."""

from __future__ import annotations

import json
from typing import Final

from pydantic import BaseModel

from forebay.stream.config.load import DEFAULT, LoadedSettings
from forebay.stream.config.redaction import HIDDEN as HIDDEN
from forebay.stream.config.sections import section_types
from forebay.stream.config.values import allowed, redacted

MAX_ALIGNED_CHARS: Final = 60


def render_toml(loaded: LoadedSettings, *, only_changed: bool = False) -> str:
    """Return one line per setting; unset ones are comments. Read as TOML, the text yields the same settings except secrets."""
    blocks: list[str] = []
    for name, keys in _shown(loaded, only_changed).items():
        assignments = {key: _assignment(loaded, name, key) for key in keys}
        width = min(max(len(text) for text in assignments.values()), MAX_ALIGNED_CHARS)
        lines = [f"{text:<{width}}  # {loaded.origins[f'{name}.{key}']}" for key, text in assignments.items()]
        blocks.append("\n".join([f"[{name}]", *lines, ""]))
    return "\n".join(blocks)


def render_json(loaded: LoadedSettings, *, only_changed: bool = False) -> dict[str, object]:
    """Return {"file", "settings": {section: {key: {"value", "origin", "allowed", "description"}}}}, secrets HIDDEN."""
    types = section_types()
    return {
        "file": str(loaded.path) if loaded.path else None,
        "settings": {
            name: {
                key: {
                    "value": _value(loaded, name, key),
                    "origin": loaded.origins[f"{name}.{key}"],
                    "allowed": allowed(types[name].model_fields[key]),
                    "description": types[name].model_fields[key].description,
                }
                for key in keys
            }
            for name, keys in _shown(loaded, only_changed).items()
        },
    }


def toml_value(value: object) -> str:
    """Return a string, number, boolean, or a list or table of them, in TOML. A model is a table of what is set in it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml_value(item)}' for key, item in value.items())}}}"
    # TOML's basic strings have the same escapes as JSON, but TOML also requires that DEL is escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _shown(loaded: LoadedSettings, only_changed: bool) -> dict[str, list[str]]:
    """Return the keys to show, by section, without empty sections."""
    shown = {
        name: [key for key in section.model_fields if not only_changed or loaded.origins[f"{name}.{key}"] != DEFAULT]
        for name, section in section_types().items()
    }
    return {name: keys for name, keys in shown.items() if keys}


def _assignment(loaded: LoadedSettings, section: str, key: str) -> str:
    value = _value(loaded, section, key)
    return f"# {key} is not set" if value is None else f"{key} = {toml_value(value)}"


def _value(loaded: LoadedSettings, section: str, key: str) -> object:
    value = getattr(getattr(loaded.settings, section), key)
    value = redacted(section_types()[section].model_fields[key], value)
    if isinstance(value, tuple):
        return [
            item.model_dump(mode="json", exclude_none=True) if isinstance(item, BaseModel) else item for item in value
        ]
    return value
