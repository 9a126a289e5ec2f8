"""Write to standard output and standard error, whatever characters their encodings support."""

from __future__ import annotations

import codecs
import json
import os
import sys
from types import MappingProxyType
from typing import Final, TextIO

import click

ERRORS: Final = "forebay.readable"
"""The error handler for characters that an encoding does not support."""

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
        "≈": "~",
        **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True)),
        "≥": ">=",
        "≤": "<=",
        "µ": "u",
        "─": "-",
        "━": "-",
        "│": "|",
    }
)


def prepare_streams() -> None:
    """Make standard output and standard error accept all characters, also in a locale that is not UTF-8.

    A stream that was closed from the start (`>&-`) is replaced by the null device.
    """
    codecs.register_error(ERRORS, _readable)
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A program that calls this may have replaced the stream.
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors=ERRORS)


def _replace_closed_streams() -> None:
    if sys.stdout is not None and sys.stderr is not None:
        return
    # Otherwise the next file or socket would get the number of a closed stream, and with it the stream's output.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    sys.stdout = sys.stdout or os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
    os.close(descriptor)


def silence(stream: TextIO) -> None:
    """Discard buffered output, which the interpreter would fail to write at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def echo(message: str | bytes = "", *, err: bool = False, nl: bool = True) -> None:
    """Write a line. Bytes are written unchanged."""
    # Without `file`, click considers an ASCII stream misconfigured and writes UTF-8 to it.
    click.echo(message, file=sys.stderr if err else sys.stdout, nl=nl)


def echo_json(document: object, *, indent: int | None = 2) -> None:
    """Write JSON, with non-ASCII characters escaped unless the output is UTF-8."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").replace("_", "")
    echo(json.dumps(document, ensure_ascii=encoding != "utf8", indent=indent))


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Replace symbols that Forebay uses by ASCII, and other characters by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(char) or _escaped(char) for char in refused), error.end


def _escaped(char: str) -> str:
    # As TOML and JSON write it.
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
