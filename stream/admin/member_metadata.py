"""What a worker tells of itself in the group: the members of the consumer group are the register of services. Pure.

It travels as the user data of the member's subscription, which the group's coordinator keeps and anybody who may describe the
group can read. It is part of a join, so it holds only what does not change while the worker lives.
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
    """worker: its instance; url: of its admin HTTP, None where that is off; release: the version of Forebay."""

    worker: str
    url: str | None
    model: str
    version: int
    release: str

    def encode(self) -> bytes:
        return orjson.dumps({"forebay": FORMAT, **asdict(self)})


def decode_member_metadata(user_data: bytes | None) -> WorkerMetadata | None:
    """Parse what a member announces; None if it is not a worker of Forebay, or if any field is invalid. Never raises."""
    try:
        told = orjson.loads(user_data or b"")
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("forebay") != FORMAT:
        return None
    worker, url, model, version, release = (told.get(n) for n in ("worker", "url", "model", "version", "release"))
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
    """Return whether it names a host to ask over HTTP, and nothing else: no user, no query, no control characters."""
    if len(url) > MAX_TEXT or not url.isprintable() or any(char in url for char in " \\?#@"):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
