"""Functions that build the common parts of the JSON Schemas."""

from __future__ import annotations

from typing import Final

Schema = dict[str, object]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

MAX_TIMESTAMP_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""


def milliseconds(description: str) -> Schema:
    return {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_TIMESTAMP_MS,
        "description": f"{description}, in milliseconds since the Unix epoch (UTC).",
    }


def or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def count(description: str, least: int = 0) -> Schema:
    return {"type": "integer", "minimum": least, "description": description}


def event_row() -> Schema:
    """Return the schema of an event's row in its record."""
    return count("The row of this event in its record, from 0; only if the record holds several events.")


def text(description: str) -> Schema:
    return {"type": "string", "description": description}


def schema(name: str, title: str, description: str, body: Schema) -> Schema:
    return {
        "$schema": DIALECT,
        "$id": f"urn:forebay:{name}",
        "title": title,
        "description": description,
        **body,
    }
