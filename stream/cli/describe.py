"""`forebay describe`: statistics of the columns of files or of a topic, in one pass."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack, cast

import click

from forebay.schemas.errors import StorageError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import unwind_on_signal
from forebay.stream.cli.options import (
    ConfigSource,
    bootstrap_option,
    config_options,
    json_option,
    parse_column_types,
    parse_delimiter,
    type_option,
)
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.models.data.file_table import FileTable
    from forebay.models.data.table_options import TableFormat
    from forebay.stream.tables.topic_table import TopicTable

_MAX_WORKERS: Final = 4


class DescribeOptions(TypedDict):
    """The options of the command, by parameter name."""

    columns: tuple[str, ...]
    correlations: bool
    page: Path | None
    max_rows: int | None
    skip_bad_lines: bool
    form: str | None
    delimiter: str | None
    text_columns: tuple[str, ...]
    column_types: tuple[str, ...]


@click.command(
    name="describe",
    epilog=examples(
        ("forebay describe flights.csv.gz", "one line per column"),
        ("forebay describe 'data/*.parquet' --columns dep_delay,carrier", "some columns of many files"),
        ("forebay describe flights.csv --html flights.html --correlations", "a page with plots"),
        ("forebay describe flights.csv --type departed=time", "a column of ISO 8601 texts as times"),
        ("forebay describe 'topic://features?from=-7d'", "the events of the last week"),
        ("forebay describe flights.csv --json | jq '.columns[0].quartiles'", "for scripts"),
    ),
)
@config_options
@bootstrap_option
@click.argument("location", metavar="FILE|TOPIC")
@click.option(
    "--columns", multiple=True, metavar="NAME[,NAME]...", help="Describe only these columns; may be repeated."
)
@click.option("--correlations", is_flag=True, help="Correlate all pairs of columns of numbers (Pearson).")
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page with plots."
)
@click.option("--max-rows", type=click.IntRange(min=1), metavar="N", help="Read only the first N rows.")
@click.option("--skip-bad-lines", is_flag=True, help="Skip and count lines that cannot be read.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "tsv", "parquet", "arrow"]),
    help="The format of FILE. [default: inferred from its name; jsonl for -]",
)
@click.option("--delimiter", metavar="CHARACTER", help="CSV: the separator of values; `tab` for a tab. [default: ,]")
@click.option(
    "--text-column",
    "text_columns",
    multiple=True,
    metavar="NAME",
    help="CSV: read this column as text; may be repeated.",
)
@type_option
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    location: str,
    as_json: bool,
    **options: Unpack[DescribeOptions],
) -> None:
    """Describe the columns of a table: types, missing and distinct values, range, quartiles, frequent values, histograms.

    FILE is a path, a pattern such as 'data/*.csv', a URL, or `-` for standard input; the files of a pattern are one table.
    CSV, TSV, JSON lines, Parquet and Arrow are read, also compressed (.gz, .zst), once and in bounded memory. TOPIC is
    topic://NAME, with ?from=TIME&to=TIME for a part of it: an age (-7d), RFC 3339, or offset:N.

    Everything is exact for up to 100,000 distinct values in a column. Beyond that, the number of distinct values is estimated
    within 2 % and ranks of quartiles and histograms within 0.5 % of the rows: estimates are marked with ≈.
    """
    with unwind_on_signal():
        table = _open(location, options, source.with_broker(bootstrap_server))
        document = _described(table, options, quiet=as_json)
    if options["page"] is not None:
        _write_page(document, options["page"])
    if as_json:
        echo_json(document)
        return
    from forebay.stream.cli.describe_render import description
    from forebay.stream.terminal.console import print_whole

    print_whole(description(document))
    if options["page"] is not None:
        echo(f"wrote {options['page']}", err=True)


def _open(location: str, options: DescribeOptions, config: ConfigSource) -> FileTable | TopicTable:
    from forebay.models.data.csv_rows import CsvOptions
    from forebay.models.data.table_options import TableOptions
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.tables.opening import open_location

    def client() -> Mapping[str, object]:
        from forebay.stream.kafka.client import client_options

        # The client's log repeats the errors reported here.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        return client_options(config.load().settings.kafka)

    chosen = tuple(dict.fromkeys(name for names in options["columns"] for name in names.split(",") if name))
    table_options = TableOptions(
        format=cast("TableFormat | None", options["form"]),
        columns=chosen or None,
        csv=CsvOptions(parse_delimiter(options["delimiter"])),
        types=parse_column_types(options["column_types"], options["text_columns"]),
        skip_invalid=options["skip_bad_lines"],
        workers=min(_MAX_WORKERS, os.cpu_count() or 1),
    )
    return open_location(location, table_options, client_options=client, clock=SystemClock())


def _described(source: FileTable | TopicTable, options: DescribeOptions, *, quiet: bool) -> dict[str, Any]:
    """Read the table and return its statistics as JSON values."""
    from forebay.models.statistics.document import table_document
    from forebay.models.statistics.table import describe

    first = _FirstRows(options["max_rows"])
    with (
        contextlib.closing(cast("Any", source.batches())) as batches,
        _progress(source, quiet=quiet) as on_rows,
    ):
        table = describe(first.of(batches), correlations=options["correlations"], on_rows=on_rows)
    assert table is not None, "a source has a batch"
    skipped = source.skipped
    if skipped.count:
        from forebay.stream.terminal.console import visible

        for row in skipped.first:
            echo(visible(f"skipped {row.place}: {row.reason}"), err=True)
    return table_document(table, source.name, skipped=skipped.count, complete=first.complete)


class _FirstRows:
    """Batches up to a number of rows. complete: whether these were all rows, once they were read."""

    def __init__(self, max_rows: int | None) -> None:
        self._max_rows = max_rows
        self.complete = True

    def of(self, batches: Iterable[Any]) -> Iterator[Any]:
        left = self._max_rows
        for batch in batches:
            if left is None:
                yield batch
                continue
            if batch.num_rows > left:
                self.complete = False
                yield batch.slice(0, left)
                return
            left -= batch.num_rows
            yield batch


@contextlib.contextmanager
def _progress(source: FileTable | TopicTable, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if the standard error is a terminal."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from forebay.stream.terminal.console import stderr_console, visible

    console = stderr_console()
    if quiet or not console.is_terminal:
        yield lambda rows: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn(visible(source.name), markup=False),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
    )
    started_s = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, rows=0, rate=0.0)

        def show(rows: int) -> None:
            rate, done = rows / max(time.monotonic() - started_s, 1e-3), source.fraction()
            bar.update(task, total=None if done is None else 1.0, completed=done or 0.0, rows=rows, rate=rate)

        yield show


def _write_page(document: dict[str, Any], path: Path) -> None:
    from forebay.models.statistics.html_page import html_page

    try:
        path.write_text(html_page(document), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot write the page: {error.strerror or error}", kind="page") from error
