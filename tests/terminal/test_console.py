"""The format of errors: red on a terminal, plain elsewhere, never interpreted as markup. Pipes that are closed."""

from __future__ import annotations

import io
import os

import pytest
from rich.console import Console

from forebay.schemas.errors import ConfigError
from forebay.stream.terminal.console import print_whole, render_error, stderr_console, stdout_console

ERROR = ConfigError("see [kafka] and [/bold]", problems=["[red]x[/red] = 1"], remedy="fix [it]")
PLAIN = "error: see [kafka] and [/bold]\n  - [red]x[/red] = 1\nhint: fix [it]\n"


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    render_error(ERROR, Console(file=out, force_terminal=terminal, soft_wrap=True, highlight=False))
    return out.getvalue()


def test_control_characters_in_an_error_are_escaped() -> None:
    out = io.StringIO()
    message = "a\x1b[2J\x9b\u202e\rb"
    render_error(ConfigError(message, problems=[message], remedy=f"{message}\nmore"), Console(file=out, soft_wrap=True))
    shown = r"a\x1b[2J\x9b\x202e\x0db"
    assert out.getvalue() == f"error: {shown}\n  - {shown}\nhint: {shown}\nmore\n"


def test_an_error_is_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = shown(terminal=True)
    assert text.startswith("\x1b[1;31merror: \x1b[0m")
    assert "see [kafka] and [/bold]" in text


def test_no_color_disables_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in shown(terminal=True)


def test_an_error_is_plain_in_a_file() -> None:
    assert shown(terminal=False) == PLAIN


def test_a_closed_pipe_is_an_error_that_the_command_can_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True) as out:
        for stream in ("stdout", "stderr"):
            monkeypatch.setattr(f"sys.{stream}", out)
        for write in (stdout_console().print, stderr_console().print, print_whole):
            with pytest.raises(BrokenPipeError):
                write("text")
