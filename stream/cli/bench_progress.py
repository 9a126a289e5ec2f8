"""Progress bars of `forebay bench`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def show_progress(as_json: bool) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Show progress bars on a terminal, and nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from forebay.stream.terminal.console import stderr_console

    console = stderr_console()
    if as_json or not console.is_terminal:
        yield lambda name, events: lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawing more often would take CPU time from the measurement.
    with Progress(*columns, console=console, refresh_per_second=4, transient=True) as bar:

        def begin(name: str, events: int) -> Callable[[int], None]:
            task = bar.add_task(name, total=events)
            return lambda done: bar.advance(task, done)

        yield begin
