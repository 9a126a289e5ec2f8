"""Reading of dead letters for the commands `forebay dlq`, with a progress bar if it takes long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

from forebay.stream.cli.dlq_options import Place
from forebay.stream.cli.output import echo
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.dlq.dead_letter import DeadLetter
    from forebay.stream.dlq.filter import DeadLetterFilter
    from forebay.stream.dlq.reader import DeadLetterReader, Progress

# In a shorter read, a bar would only flicker.
_BAR_AFTER_S: Final = 0.5


@contextlib.asynccontextmanager
async def open_dead_letters(
    place: Place, selection: DeadLetterFilter, *, quiet: bool
) -> AsyncIterator[tuple[DeadLetterReader, AsyncIterator[DeadLetter]]]:
    """Connect to the topic; yield its reader and the dead letters that match. On a terminal, a long read shows a bar."""
    async with place.reader() as reader:
        with bar(place.topic, quiet=quiet) as progress:
            extent = await reader.extent(since_ms=selection.since_ms)
            dead_letters = reader.dead_letters(extent, progress=progress)
            yield reader, (dead_letter async for dead_letter in dead_letters if selection.matches(dead_letter))


@contextlib.contextmanager
def bar(what: str, *, quiet: bool) -> Iterator[Progress]:
    """Show a progress bar if the standard error is a terminal and the work takes a while."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from forebay.stream.terminal.console import stderr_console

    console = stderr_console()
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=console, transient=True)
    task = shown.add_task("", total=None)
    begun_s = time.monotonic()

    def show(done: int, total: int) -> None:
        shown.update(task, completed=done, total=total)
        if not shown.live.is_started and time.monotonic() - begun_s > _BAR_AFTER_S:
            shown.start()

    try:
        yield show
    finally:
        shown.stop()


def report_no_match(reader: DeadLetterReader) -> None:
    """Print that no dead letter matched, and how many were read."""
    num_dead_letters, num_other = reader.stats.num_dead_letters, reader.stats.num_other_records
    read = f"{quantity(num_dead_letters, 'dead letter')} read"
    if num_other:
        read += f", and {quantity(num_other, 'other record')}"
    echo(f"no dead letter in {reader.topic} matches ({read})")
