"""`forebay publish FILE`: sending the rows of a file, with a progress bar, and the report at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.models.data.row_source import ReadOptions, RowSource
    from forebay.stream.publish.publish_job import PublishJob


def send_file(
    job: PublishJob, file: str, options: ReadOptions, *, check: bool, warn: Callable[[str], None], as_json: bool
) -> None:
    """Publish the rows of a file. check: whether to build all records before any is sent, if their format is not JSON."""
    if job.format is not None and check and file != "-":
        check_file(job, file, options, warn)
    publish_file(job, file, options, as_json=as_json)


def publish_file(job: PublishJob, file: str, options: ReadOptions, *, as_json: bool) -> None:
    """Publish the rows of a file, and print how many were published and skipped. Raises BrokerError, ConfigError, DataError."""
    from forebay.models.data.row_source import open_rows

    with open_rows(file, options, job.check_columns) as source, _progress(source, job, as_json) as progress:
        result = run_async(job.publish_rows(source.rows, source.name, progress))
    if as_json:
        echo_json(
            {
                f"{job.noun}s": result.events,
                "skipped": result.skipped,
                "bytes": result.num_bytes,
                "seconds": round(result.seconds, 3),
                "topic": job.topic,
                "bad_lines": [
                    {"place": invalid_row.place, "reason": invalid_row.reason} for invalid_row in result.first_invalid
                ],
            },
            indent=None,
        )
        return
    count = quantity(result.events, job.noun)
    echo(f"published {count} to {job.topic} in {result.seconds:.1f} s ({result.rate:,.0f}/s)")
    if result.skipped:
        from forebay.stream.terminal.console import visible

        first = ", the first:" if result.skipped > len(result.first_invalid) else ":"
        echo(f"skipped {quantity(result.skipped, 'bad line')}{first}", err=True)
        for invalid_row in result.first_invalid:
            echo(visible(f"  {invalid_row.place}: {invalid_row.reason}"), err=True)


def check_file(job: PublishJob, file: str, options: ReadOptions, warn: Callable[[str], None]) -> None:
    """Build the records of all rows, without sending any. Raises DataError for the first that cannot be published."""
    from forebay.models.data.row_source import open_rows
    from forebay.schemas.errors import DataError
    from forebay.stream.publish.formatted_builder import SchemaRowBuilder
    from forebay.stream.publish.rate_limited_publish import first_invalid

    columns: list[str] = []

    def check_columns(names: Collection[str]) -> None:
        job.check_columns(names)
        columns.extend(names)

    with open_rows(file, options, check_columns) as source:
        builder = job.row_builder(source.name)
        fault = first_invalid(job.records_of(source.rows), builder, source.name, job.headers, limit=job.limit)
    if fault is not None:
        raise DataError(f"{fault.place}: {fault.reason} (nothing was published)", kind="bad_row", remedy=fault.remedy)
    if isinstance(builder, SchemaRowBuilder) and (unused := builder.unused(columns)):
        warn(f"the schema has no field for the columns {', '.join(unused[:20])}, which are not sent")


@contextlib.contextmanager
def _progress(source: RowSource, job: PublishJob, as_json: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if the standard error is a terminal."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from forebay.stream.terminal.console import stderr_console

    console = stderr_console()
    if as_json or not console.is_terminal:
        yield lambda events, skipped: None
        return
    total = job.limit or (1.0 if source.total_bytes else None)
    columns = (
        SpinnerColumn(),
        TextColumn(source.name, markup=False),
        BarColumn(),
        TextColumn("{task.fields[events]:,} " + f"{job.noun}s"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TextColumn("{task.fields[skipped]}"),
        TimeElapsedColumn(),
    )
    started_s = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, events=0, rate=0.0, skipped="")

        def show(events: int, skipped: int) -> None:
            done = source.fraction()
            if job.limit:
                done = max(events, job.limit * (done or 0.0))
            bar.update(
                task,
                completed=done or 0.0,
                events=events,
                rate=events / max(time.monotonic() - started_s, 1e-3),
                skipped=f"{skipped:,} skipped" if skipped else "",
            )

        yield show
