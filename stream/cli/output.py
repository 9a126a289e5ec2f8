"""Writing to standard output and standard error, whatever characters they take."""

from __future__ import annotations

import codecs
import json
import os
import sys
from types import MappingProxyType
from typing import Final, TextIO

import click

ERRORS: Final = "forebay.readable"
"""The error handler for characters that an output does not take."""

_IN_ASCII: Final = MappingProxyType(
    {
        "✓": "+",
        "✗": "x",
        "→": "->",
        "←": "<-",
        "×": "x",
        "·": "-",
        "•": "*",
        "…": "...",
        "–": "-",
        "—": "-",
        "≥": ">=",
        "≤": "<=",
        "µ": "u",
        "─": "-",
        "━": "-",
        "│": "|",
    }
)


def prepare_streams() -> None:
    """Keep standard output and standard error from refusing characters, as they do in a locale that is not UTF-8.

    One that was closed from the start (`>&-`) goes to the null device.
    """
    codecs.register_error(ERRORS, _readable)
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A program that calls this may have put something else in its place.
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors=ERRORS)


def _replace_closed_streams() -> None:
    if sys.stdout is not None and sys.stderr is not None:
        return
    # The next file or socket would take the number of a closed stream, and get what is written to that.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    sys.stdout = sys.stdout or os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
    os.close(descriptor)


def silence(stream: TextIO) -> None:
    """Drop what is still to be written: the interpreter would stumble over it while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def echo(message: str | bytes = "", *, err: bool = False, nl: bool = True) -> None:
    """Write a line; bytes as they are."""
    # Without a file click takes an ASCII stream for misconfigured, and writes UTF-8 to it.
    click.echo(message, file=sys.stderr if err else sys.stdout, nl=nl)


def echo_json(document: object, *, indent: int | None = 2) -> None:
    """Write JSON: in its own characters where the output takes all of them, else escaped."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").replace("_", "")
    echo(json.dumps(document, ensure_ascii=encoding != "utf8", indent=indent))


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Write the signs that Forebay itself uses in ASCII, and other characters as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(char) or _escaped(char) for char in refused), error.end


def _escaped(char: str) -> str:
    # As TOML and JSON write it.
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
