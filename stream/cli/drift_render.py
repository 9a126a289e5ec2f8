"""The tables of `forebay drift`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.quantities import quantity
from forebay.stream.core.time_format import local_date_time
from forebay.stream.drift.detector import Detector, WindowState, WindowVerdict
from forebay.stream.drift.measures import ColumnMeasures, Level, Measure
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW, plain_table, print_whole, visible

NUM_WINDOWS: Final = 12
NUM_COLUMNS: Final = 20
_STYLES: Final = {Level.ALARM: RED, Level.WARN: YELLOW, None: GREEN}


def print_version(detector: Detector, ref: ModelRef, *, all_columns: bool) -> None:
    """Print the findings of a version, its last windows, and the columns of the last judged one."""
    history = detector.history(ref)
    print_whole(Text(visible(str(ref)), style="bold"))
    for finding in history[-1].findings if history else ():
        if finding in detector.findings():
            print_whole(
                Text(f"{finding.kind.value} {finding.level.value}: {visible(finding.detail)}", _STYLES[finding.level])
            )
    for counts in detector.open_windows(ref):
        print_whole(
            Text(f"the window from {local_date_time(counts.key.window_start)} is not over: {_rows(counts.rows)}", DIM)
        )
    if not history:
        print_whole("")
        return
    print_whole(_windows(history[-NUM_WINDOWS:]))
    judged = [verdict for verdict in history if verdict.state is WindowState.JUDGED]
    if judged:
        print_whole(Text(f"\ncolumns from {local_date_time(judged[-1].key.window_start)}", DIM))
        columns = sorted(judged[-1].columns, key=_severity)
        shown = columns if all_columns else columns[:NUM_COLUMNS]
        print_whole(_columns(shown))
        if len(shown) < len(columns):
            print_whole(Text(f"{len(columns) - len(shown)} more with --all", DIM))
    print_whole("")


def _rows(rows: int) -> str:
    return f"{quantity(rows, 'row')} counted so far"


def _windows(verdicts: Sequence[WindowVerdict]) -> Table:
    table = plain_table("window", "counted", "of rows", "verdict", "largest PSI", right=("counted", "of rows"))
    for verdict in verdicts:
        table.add_row(
            local_date_time(verdict.key.window_start),
            f"{verdict.rows:,}",
            f"{verdict.seen:,}",
            _verdict(verdict),
            Text(_largest(verdict)),
        )
    return table


def _verdict(verdict: WindowVerdict) -> Text:
    if verdict.state is WindowState.TOO_FEW_ROWS:
        return Text("none: too few rows", DIM)
    levels = {column.level for column in verdict.columns}
    worst = Level.ALARM if Level.ALARM in levels else Level.WARN if Level.WARN in levels else None
    beyond = sum(column.level is not None for column in verdict.columns)
    if worst is None:
        return Text("no drift", GREEN)
    return Text(f"{quantity(beyond, 'column')} beyond a threshold", _STYLES[worst])


def _largest(verdict: WindowVerdict) -> str:
    known = [(value, column.name) for column in verdict.columns if (value := column.value(Measure.PSI)) is not None]
    if not known:
        return "–"
    value, name = max(known)
    return f"{value:.3f} {visible(name)}"


def _severity(column: ColumnMeasures) -> tuple[int, float]:
    order = {Level.ALARM: 0, Level.WARN: 1, None: 2}[column.level]
    values = (column.value(Measure.PSI), column.value(Measure.PSI_RECENT))
    return order, -max((value for value in values if value is not None), default=0.0)


def _columns(columns: Sequence[ColumnMeasures]) -> Table:
    numbers = ("PSI", "recent", "JS", "KS", "missing", "unseen", "out of range")
    table = plain_table("column", "kind", *numbers, "level", right=numbers)
    for column in columns:
        levels = {found.measure: found.level for found in column.compared}
        cells = [
            _cell(column.value(measure), levels.get(measure), is_share=measure not in (Measure.PSI, Measure.PSI_RECENT))
            for measure in Measure
        ]
        information = [_cell(value, None) for value in (column.jensen_shannon, column.kolmogorov_smirnov)]
        level = Text("ok" if column.level is None else column.level.value, _STYLES[column.level])
        name = Text(visible(column.name))
        table.add_row(name, column.kind.value, *cells[:2], *information, *cells[2:], level)
    return table


def _cell(value: float | None, level: Level | None, *, is_share: bool = False) -> Text:
    if value is None:
        return Text("–", DIM)
    return Text(f"{value:.1%}" if is_share else f"{value:.3f}", "" if level is None else _STYLES[level])
