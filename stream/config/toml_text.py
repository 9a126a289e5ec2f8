"""Values and keys as they are written in TOML."""

from __future__ import annotations

import json
import re
from typing import Final

from pydantic import BaseModel

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def toml_value(value: object) -> str:
    """Return a string, number, boolean, or a list or table of them, in TOML. A model is a table of what is set in it."""
    value = plain_value(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml_key(key)} = {toml_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, str) and ('"' in value or "\\" in value) and "'" not in value and value.isprintable():
        return f"'{value}'"  # without escapes, as people write paths with quoted names
    # TOML's basic strings have the same escapes as JSON, but TOML also requires that DEL is escaped.
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def toml_key(key: str) -> str:
    """Return a key, in quotes if it needs them."""
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def plain_value(value: object) -> object:
    """Return lists, dictionaries and models in it as plain lists and dictionaries."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    return value
