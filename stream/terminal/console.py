"""Consoles for standard output and standard error, and the format of tables and errors."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final, NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.schemas.errors import ConfigError, ForebayError

RED: Final = "bold red"
GREEN: Final = "green"
YELLOW: Final = "yellow"
DIM: Final = "dim"


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        # rich would raise SystemExit, which asyncio reports as an exception of the task that prints.
        raise


def stdout_console() -> Console:
    """Return a console for results. Colours only on a terminal and without NO_COLOR; no wrapping, so output can be piped.

    Printing raises BrokenPipeError if the reader has closed the pipe.
    """
    return _Console(file=sys.stdout, highlight=False, soft_wrap=True)


def clear_terminal() -> None:
    """Clear standard output, if it is a terminal, because what follows replaces what was shown."""
    console = stdout_console()
    if console.is_terminal:
        console.clear()


def stderr_console() -> Console:
    """Return a console for errors, progress and notes."""
    return _Console(file=sys.stderr, highlight=False, soft_wrap=True)


def plain_table(*columns: str, right: Collection[str] = ()) -> Table:
    """Return an empty table with a line under its header. right: columns with numbers."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def print_whole(output: RenderableType) -> None:
    """Print to standard output at full width, also into a pipe, so that names are not cut."""
    console = stdout_console()
    needed = console.measure(output, options=console.options.update(max_width=10_000)).maximum
    console.width = max(console.width, needed)
    console.print(output)


def visible(text: str) -> str:
    """Escape control characters except line ends: messages quote untrusted files, models and brokers."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)


def error_text(error: ForebayError) -> Text:
    """Format an error: its message, one line for each problem, and the remedy."""
    # Text, not markup: messages contain brackets, such as [kafka].
    text = Text.assemble(("error: ", RED), visible(error.message))
    if isinstance(error, ConfigError):
        for problem in error.problems:
            text.append(f"\n  - {visible(problem)}")
    if error.remedy:
        text.append("\n")
        text.append("hint: ", style=YELLOW)
        text.append(visible(error.remedy))
    return text


def render_error(error: ForebayError, console: Console | None = None) -> None:
    """Print an error, by default to standard error."""
    (console or stderr_console()).print(error_text(error))
