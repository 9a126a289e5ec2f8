"""Tables of `forebay audit show`."""

from __future__ import annotations

from typing import Any

import orjson

from forebay.stream.core.time_format import local_date_time
from forebay.stream.terminal.console import plain_table, print_whole
from forebay.stream.terminal.record_format import printable, shortened


def print_outcomes(rows: list[dict[str, Any]]) -> None:
    """Print outcomes as a table."""
    with_principal = any(row["principal"] for row in rows)
    columns = ["outcome at", "event time", "position", "id", "model", "outcome", *["principal"] * with_principal]
    table = plain_table(*columns)
    for row in rows:
        place = f"{row['topic']}-{row['partition']}@{row['offset']}"
        cells = [
            local_date_time(row["outcome_ms"]),
            local_date_time(row["event_ms"]),
            printable(place if row["row"] is None else f"{place} row {row['row']}"),
            shortened(printable(row["id"] or "")),
            printable(f"{row['model']} v{row['version']}"),
            printable(row["outcome"] if row["denial"] is None else f"{row['outcome']}: {row['denial']}"),
        ]
        table.add_row(*cells, *[shortened(printable(row["principal"] or ""))] * with_principal)
    print_whole(table)


def print_actions(rows: list[dict[str, Any]]) -> None:
    """Print actions as a table."""
    table = plain_table("at", "action", "by", "from", "details")
    for row in rows:
        details = ", ".join(
            f"{name} {_text(value)}" for name, value in row["details"].items() if value not in ("", None)
        )
        cells = (row["action"], row["actor"], row["origin"], details)
        table.add_row(local_date_time(row["at_ms"]), *map(printable, cells))
    print_whole(table)


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
