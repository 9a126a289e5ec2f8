"""How an error looks: red on a terminal, plain where colours are not wanted, never read as markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from forebay.schemas.errors import ConfigError
from forebay.stream.terminal.console import render_error

ERROR = ConfigError("see [kafka] and [/bold]", problems=["[red]x[/red] = 1"], remedy="mend [it]")
PLAIN = "error: see [kafka] and [/bold]\n  - [red]x[/red] = 1\nhint: mend [it]\n"


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    render_error(ERROR, Console(file=out, force_terminal=terminal, soft_wrap=True, highlight=False))
    return out.getvalue()


def test_what_others_wrote_does_not_steer_the_terminal() -> None:
    out = io.StringIO()
    evil = "a\x1b[2J\x9b\u202e\rb"
    render_error(ConfigError(evil, problems=[evil], remedy=f"{evil}\nmore"), Console(file=out, soft_wrap=True))
    shown = r"a\x1b[2J\x9b\x202e\x0db"
    assert out.getvalue() == f"error: {shown}\n  - {shown}\nhint: {shown}\nmore\n"


def test_it_is_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = shown(terminal=True)
    assert text.startswith("\x1b[1;31merror: \x1b[0m")
    assert "see [kafka] and [/bold]" in text


def test_it_has_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in shown(terminal=True)


def test_it_is_plain_in_a_file() -> None:
    assert shown(terminal=False) == PLAIN
