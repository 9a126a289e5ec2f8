"""Metadata that a worker announces to its group: the consumer group is the service registry. Pure.

It is the user data of the member's subscription: the group coordinator stores it, and any client that may describe the group
can read it. It is part of a join request, so it holds only what does not change during the worker's life.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

import orjson

FORMAT: Final = 1
MAX_TEXT: Final = 300
MAX_VERSION: Final = 999_999_999


@dataclass(frozen=True, slots=True)
class WorkerMetadata:
    """What a worker announces.

    worker: its instance id.
    url: address of its admin API; None if that is off.
    release: its version of Forebay.
    """

    worker: str
    url: str | None
    model: str
    version: int
    release: str

    def encode(self) -> bytes:
        return orjson.dumps({"forebay": FORMAT, **asdict(self)})


def decode_member_metadata(user_data: bytes | None) -> WorkerMetadata | None:
    """Parse a member's user data; None if it is not a worker of Forebay, or if any field is invalid. Never raises."""
    try:
        fields = orjson.loads(user_data or b"")
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get("forebay") != FORMAT:
        return None
    worker, url, model, version, release = map(fields.get, ("worker", "url", "model", "version", "release"))
    if not (isinstance(worker, str) and isinstance(model, str) and isinstance(release, str)):
        return None
    if not (url is None or (isinstance(url, str) and _is_web_url(url))):
        return None
    if type(version) is not int or not 0 <= version <= MAX_VERSION:
        return None
    return WorkerMetadata(
        worker=worker[:MAX_TEXT], url=url, model=model[:MAX_TEXT], version=version, release=release[:MAX_TEXT]
    )


def _is_web_url(url: str) -> bool:
    """Return whether this is an HTTP URL without user, query and control characters."""
    if len(url) > MAX_TEXT or not url.isprintable() or any(char in url for char in " \\?#@"):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
