"""What people see on a terminal: the two consoles, and how a table and an error look."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.schemas.errors import ConfigError, ForebayError

RED: Final = "bold red"
GREEN: Final = "green"
YELLOW: Final = "yellow"
DIM: Final = "dim"


def stdout_console() -> Console:
    """For results. Colours only on a terminal and without NO_COLOR; nothing is wrapped, so that it can be piped."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def stderr_console() -> Console:
    """For errors, progress and remarks."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def plain_table(*columns: str, right: Collection[str] = ()) -> Table:
    """A table with a line under its head; the columns of `right` hold numbers."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def print_whole(what: RenderableType) -> None:
    """To standard output, as wide as it is, also through a pipe: names must not be cut."""
    console = stdout_console()
    needed = console.measure(what, options=console.options.update(max_width=10_000)).maximum
    console.width = max(console.width, needed)
    console.print(what)


def visible(text: str) -> str:
    """Escape what steers a terminal, but for line ends: messages quote files, models and brokers that are others'."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)


def error_text(error: ForebayError) -> Text:
    """The message, every problem on a line of its own, and the remedy."""
    # As Text, never as markup: messages hold brackets, such as [kafka].
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
    """Print it, to standard error where no console is given."""
    (console or stderr_console()).print(error_text(error))
