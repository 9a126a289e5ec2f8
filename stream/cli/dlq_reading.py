"""How the commands about dead letters read them: those that are meant, with a progress bar where it takes long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

from forebay.stream.cli.dlq_options import Place
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.stream.dlq.dead_letter import Letter
    from forebay.stream.dlq.filter import Filter
    from forebay.stream.dlq.reader import DeadLetterReader, Progress

# Shorter reads show no bar: it would only flicker.
_BAR_AFTER_S: Final = 0.5


@contextlib.asynccontextmanager
async def letters_of(
    place: Place, chosen: Filter, *, quiet: bool
) -> AsyncIterator[tuple[DeadLetterReader, AsyncIterator[Letter]]]:
    """The letters that are meant, with a bar on a terminal where it takes long."""
    async with place.box() as box:
        with bar(place.topic, quiet=quiet) as progress:
            extent = await box.extent(since_ms=chosen.since_ms)
            found = box.letters(extent, progress=progress)
            yield box, (letter async for letter in found if chosen.takes(letter))


@contextlib.contextmanager
def bar(what: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress bar on a terminal, once it has taken a while; nothing where nobody looks."""
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


def say_none(box: DeadLetterReader) -> None:
    letters, strangers = box.seen.letters, box.seen.strangers
    read = f"{letters:,} letter{'s'[: letters != 1]} read"
    if strangers:
        read += f", {strangers:,} record{'s' if strangers != 1 else ''} that {'are' if strangers != 1 else 'is'} none"
    echo(f"no letter in {box.topic} matches ({read})")
