"""A TOML file with the line of each key, which the standard library's parser does not report."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ConfigError

MAX_FILE_BYTES: Final = 1_048_576

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]+")
_KEY: Final = re.compile(
    r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a TOML file.

    lines: line of each section and of each "section.key" that a scan of the text found. The tables of a list
    [[section.key]] are "section.key[0]" and so on, and their keys "section.key[0].name"; a table [section.key.table]
    within them is "section.key[0].table".
    """

    path: Path
    tables: Mapping[str, object]
    lines: Mapping[str, int]

    def place(self, key: str) -> str:
        """Return FILE:LINE of a section or "section.key"; if its line is unknown, that of its parent, or only FILE."""
        while key not in self.lines and (end := max(key.rfind("."), key.rfind("["))) > 0:
            key = key[:end]
        line = self.lines.get(key)
        return f"{self.path}:{line}" if line else str(self.path)


def read_document(path: Path) -> Document:
    """Read a file. Raises ConfigError if it cannot be read, or (with line and column) if it is not TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: the file does not exist", kind="config_not_found", remedy="`forebay init` writes one"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: the file cannot be read: {error.strerror or error}", kind="config_unreadable"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: the file is larger than {MAX_FILE_BYTES} bytes", kind="config_unreadable")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: not UTF-8 text", kind="config_syntax", remedy="save the file as UTF-8"
        ) from None
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _syntax_error(path, text, str(error)) from None
    return Document(path, tables, _lines(text))


def _syntax_error(path: Path, text: str, message: str) -> ConfigError:
    match = _POSITION.search(message)
    if match is None:
        place, what = str(path), message
    else:
        last = text.count("\n") + 1
        line, column = (match[1], match[2]) if match[1] else (last, len(text) - text.rfind("\n"))
        place, what = f"{path}:{line}:{column}", message[: match.start()]
    return ConfigError(
        f"{place}: not TOML: {what}",
        kind="config_syntax",
        remedy='write key = value below a [section], with strings in "quotes"',
    )


def _lines(text: str) -> dict[str, int]:
    """Find the lines of sections and keys by their form. The content of multi-line strings is skipped."""
    lines: dict[str, int] = {}
    tables: Counter[str] = Counter()
    section: str | None = None
    quote: str | None = None
    for number, line in enumerate(text.split("\n"), start=1):  # the only line end in TOML
        if quote is None:
            if header := _HEADER.match(line):
                section = _within_tables(_plain(header[2]), tables)
                for end in range(1, section.count(".") + 2):
                    lines.setdefault(".".join(section.split(".")[:end]), number)
                if header[1] == "[[":
                    tables[section] += 1
                    section = f"{section}[{tables[section] - 1}]"
                    lines[section] = number
            elif key := _KEY.match(line):
                full = _plain(key[1]) if section is None else f"{section}.{_plain(key[1])}"
                lines.setdefault(full, number)
                lines.setdefault(full.partition(".")[0], number)
        for mark in ('"""', "'''"):
            if quote in (None, mark) and line.count(mark) % 2:
                quote = mark if quote is None else None
                break
    return lines


def _within_tables(name: str, tables: Mapping[str, int]) -> str:
    """Return "models[1].batch" for the header [models.batch] below the second [[models]]."""
    outer, _, inner = name.rpartition(".")
    return f"{outer}[{tables[outer] - 1}].{inner}" if outer in tables else name


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
