"""The scope of a token: the topic, the field and the event that it belongs to. Pure.

It is a member of the protected header, which AES-GCM authenticates with the text, so that a token is valid only in its place.
The header is written so that its Base64 consists of a part for topic, field and key, and a part for the id of the event. Each
is encoded once, and the header of a token that Forebay wrote is compared as bytes and not parsed.
"""

from __future__ import annotations

import binascii
from typing import Final, NamedTuple

import orjson

WHOLE_VALUE: Final = "*"
"""The field of a token that is the whole value of a record."""

_SUFFIX: Final = b"}}"
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")


class Scope(NamedTuple):
    """The place of a token. field: a path in the document, or `*`. id: of the event; "" if it has none there."""

    topic: str
    field: str
    id: str


def to_base64url(data: bytes) -> bytes:
    """Return data in base64url without padding."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


class HeaderTemplate(NamedTuple):
    """A protected header without the id, for tokens of one field whose headers differ only in it.

    fixed: the Base64 of the beginning of the header.
    tail: the bytes after that and before the id, which is a JSON string.
    suffix: the bytes after the id.
    """

    fixed: bytes
    tail: bytes
    suffix: bytes


def header_template(before: bytes, after: bytes) -> HeaderTemplate:
    """Return the template of a header. before, after: its text before and after the id."""
    length = len(before) // 3 * 3
    return HeaderTemplate(to_base64url(before[:length]), before[length:], after)


def header_prefix(kid: str, topic: str, field: str) -> bytes:
    """Return the first part of the Base64 of a protected header: all of it before the id."""
    text = b'{"alg":"dir","enc":"A256GCM","kid":%b,"scope":{"topic":%b,"field":%b,' % tuple(
        map(orjson.dumps, (kid, topic, field))
    )
    id_member = b'"id":'
    # White space before the last member makes the length a multiple of three, so that the Base64 of both parts can be joined.
    return to_base64url(text + b" " * (-(len(text) + len(id_member)) % 3) + id_member)


def header_ending(json_id: bytes) -> bytes:
    """Return the second part of the Base64 of a protected header. json_id: the id as a JSON string."""
    return to_base64url(json_id + _SUFFIX)


def own_template(kid: str, topic: str, field: str) -> HeaderTemplate:
    """Return the template of the headers that `header_prefix` and `header_ending` write."""
    return HeaderTemplate(header_prefix(kid, topic, field), b"", _SUFFIX)


def record_scope_id(key: bytes | None, id_header: bytes | None) -> str:
    """Return the id in the scope of a whole value: its header forebay-id, else the record's key, else ""."""
    text = key if id_header is None else id_header
    return "" if text is None else text.decode("utf-8", "backslashreplace")
