"""Settings that are lists of tables, with an error message for each invalid key of each table."""

from __future__ import annotations

import json
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from forebay.stream.config.json_value import parse_json
from forebay.stream.config.values import Mistake, Mistakes, allowed

_MAX_SHOWN_CHARS: Final = 80


class Table(BaseModel):
    """Base class of the tables in a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


T = TypeVar("T", bound=Table)


def table_reader(table_type: type[T], word: str, most: int) -> Callable[[object], tuple[T, ...]]:
    """Return a validator that reads a list of tables, or the same as JSON text, and reports each mistake by itself."""

    def read(value: object) -> tuple[T, ...]:
        if isinstance(value, str):
            try:
                value = parse_json(value) if value.strip() else []
            except ValueError as error:
                raise ValueError(f"not JSON: {error}") from None
        if not isinstance(value, list | tuple):
            raise ValueError("not a list of tables")
        if len(value) > most:
            raise ValueError(f"there are {len(value)}")
        mistakes: list[Mistake] = []
        tables: list[T] = []
        for index, table in enumerate(value):
            subject, part = f"{word} {index + 1}", f"[{index}]"
            if isinstance(table, table_type):
                tables.append(table)
            elif isinstance(table, dict) and all(isinstance(key, str) for key in table):
                try:
                    tables.append(table_type(**table))
                except ValidationError as error:
                    details = {str(detail["loc"][:1]): detail for detail in error.errors(include_url=False)}
                    mistakes += [
                        _mistake(table_type, table, detail, part=part, subject=subject) for detail in details.values()
                    ]
            else:
                mistakes.append(Mistake(part, subject, "must be a table"))
        if mistakes:
            raise Mistakes(mistakes)
        return tuple(tables)

    return read


def _mistake(table_type: type[Table], table: dict[str, Any], error: Any, *, part: str, subject: str) -> Mistake:
    fields = table_type.model_fields
    if not error["loc"]:
        return Mistake(part, subject, str(error["ctx"]["error"]))
    key = str(error["loc"][0])
    place = f"{part}.{key}"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(fields)}"
        return Mistake(place, f"{subject}, {key[:_MAX_SHOWN_CHARS]}", f"unknown key; {hint}")
    if error["type"] == "missing":
        return Mistake(place, f"{subject}, {key}", f"is missing; it must be {allowed(fields[key])}")
    shown = json.dumps(table.get(key), ensure_ascii=False, default=str)[:_MAX_SHOWN_CHARS]
    return Mistake(place, f"{subject}, {key} = {shown}", f"must be {allowed(fields[key])}")
