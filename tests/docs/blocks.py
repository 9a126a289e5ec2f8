"""The fenced blocks of a Markdown page, and the commands in its `console` blocks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+#\s.*$")


class Block(NamedTuple):
    """A fenced block. language: the word after the fence; line: the page's line at which its text begins."""

    language: str
    text: str
    line: int


class Command(NamedTuple):
    """A command as a reader would type it, and the output that the page shows below it."""

    text: str
    output: tuple[str, ...]
    line: int


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    return [Block(match[1], match[2], page.count("\n", 0, match.start()) + 2) for match in _FENCE.finditer(page)]


def commands_of(block: Block) -> Iterator[Command]:
    """Yield the commands of a `console` block: each begins with `$ ` and continues on the next line after a backslash.

    A comment that begins with ` # ` is left out, as a shell would.
    """
    text: str | None = None
    line = 0
    output: list[str] = []
    for number, row in enumerate(block.text.splitlines(), block.line):
        if row.startswith("$ "):
            if text is not None:
                yield Command(text, tuple(output), line)
            text, line, output = _COMMENT.sub("", row[2:]), number, []
        elif text is not None and text.endswith("\\") and not output:
            text = text[:-1] + row.strip()
        elif text is not None:
            output.append(row)
        else:
            raise ValueError(f"line {number}: a console block begins with a command, not with {row!r}")
    if text is not None:
        yield Command(text, tuple(output), line)


def words_of(line: str) -> list[str]:
    """Return the words of a line that stay the same from run to run: four letters or more, without adjacent digits."""
    return re.findall(r"(?<![\w./-])[A-Za-z]{4,}(?![\w./-])", line)
