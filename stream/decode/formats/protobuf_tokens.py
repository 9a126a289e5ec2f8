"""Tokens of the Protobuf schema language, with the position of each for messages. Pure and linear in the length of the text."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

MAX_TOKENS: Final = 200_000

TokenKind = Literal["name", "number", "string", "symbol", "end"]

_TOKEN: Final = re.compile(
    r"""
      (?P<space>    [\s\ufeff]++ | //[^\n]*+ | /\*.*?\*/ )
    | (?P<name>     [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number>   0[xX][0-9A-Fa-f]+ | (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]? )
    | (?P<string>   "[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+" | '[^'\\\n]*+(?:\\[^\n][^'\\\n]*+)*+' )
    | (?P<symbol>   [{}\[\]()<>;:,=.+/-] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_SIMPLE_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class InvalidSchemaText(ValueError):
    """A text is not a Protobuf schema. The message names the line."""


class Token(NamedTuple):
    """One token. text: as in the schema; of a string, what it stands for."""

    kind: TokenKind
    text: str
    position: int


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a schema without spaces and comments, and one at the end. Raises InvalidSchemaText."""
    tokens: list[Token] = []
    position, length = 0, len(text)
    while position < length:
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidSchemaText(f"line {line_of(text, position)}: unexpected {text[position : position + 10]!r}")
        kind = match.lastgroup
        if kind == "string":
            tokens.append(Token("string", _unescape(match.group()[1:-1]), position))
        elif kind != "space":
            tokens.append(Token(kind, match.group(), position))  # type: ignore[arg-type]  # the groups of the pattern
        if len(tokens) > MAX_TOKENS:
            raise InvalidSchemaText(f"more than {MAX_TOKENS} tokens")
        position = match.end()
    tokens.append(Token("end", "the end", length))
    return tokens


def line_of(text: str, position: int) -> int:
    """Return the number of the line at a position, from 1."""
    return text.count("\n", 0, position) + 1


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(match: re.Match[str]) -> str:
    octal, hexadecimal, unicode, other = match.groups()
    if octal:
        return chr(int(octal, 8))
    if hexadecimal or unicode:
        return chr(int(hexadecimal or unicode, 16))
    return _SIMPLE_ESCAPES.get(other, other)
