"""The error summary as text for a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from forebay.stream.aggregate.summary import Summary
from forebay.stream.core.quantities import quantity
from forebay.stream.core.time_format import local_day_time
from forebay.stream.terminal.console import DIM, GREEN, YELLOW, plain_table
from forebay.stream.terminal.record_format import printable, shortened

_MESSAGE_CHARS: Final = 60
_RIGHT: Final = ("count", "rate")


def summary_text(summary: Summary, *, stacks: bool) -> RenderableType:
    """Return a table with a line for each kind, stage and model version, most frequent first.

    stacks: whether to add the stack traces.
    """
    table = plain_table("kind", "stage", "model", "count", "rate", "first seen", "last seen", "example", right=_RIGHT)
    for key, row in summary.ranked():
        late = f" ({row.late:,} late)" if row.late else ""
        message = "" if row.exemplar is None else shortened(printable(row.exemplar["message"]), _MESSAGE_CHARS)
        table.add_row(
            Text(key.kind, YELLOW),
            key.stage,
            printable(f"{key.model} v{key.version}"),
            f"{row.count:,}{' windows' if row.of_window else ''}{late}",
            f"{summary.rate(key):.2%}",
            local_day_time(row.first_seen),
            local_day_time(row.last_seen),
            Text(message),
        )
    parts: list[RenderableType] = [table, Text(_totals(summary), DIM)]
    if stacks:
        for key, row in summary.ranked():
            if row.exemplar is not None and row.exemplar["stack"]:
                parts += [
                    Text(f"\n{key.kind}, {key.model} v{key.version}", YELLOW),
                    Text(_lines(row.exemplar["stack"])),
                ]
    return Group(*parts)


def no_errors_text(summary: Summary) -> Text:
    """Return the line to print if there are no failures, or no events."""
    since = local_day_time(summary.since)
    if not (summary.num_events or summary.num_windows):
        return Text(f"no events since {since}: is `forebay aggregate` running?", YELLOW)
    windows = f" and {quantity(summary.num_windows, 'window')}" if summary.num_windows else ""
    return Text(f"no errors among {quantity(summary.num_events, 'event')}{windows} since {since}", GREEN)


def _totals(summary: Summary) -> str:
    """Return the totals. Events and windows are two ledgers, each with its own share."""
    failed, total = summary.num_failures, summary.num_events
    totals = f"{failed:,} of {total:,} events since {local_day_time(summary.since)}{_share(failed, total)}"
    if summary.num_windows:
        failed, total = summary.num_failed_windows, summary.num_windows
        totals += f"; {failed:,} of {total:,} windows{_share(failed, total)}"
    return totals


def _share(failed: int, total: int) -> str:
    return f" ({failed / total:.2%})" if total else ""


def _lines(stack: str) -> str:
    return "\n".join("  " + printable(line) for line in stack.split("\n"))
