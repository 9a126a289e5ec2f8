"""Metadata that a worker announces to its group: the consumer group is the service registry. Pure.

It is the user data of the member's subscription: the group coordinator stores it, and any client that may describe the group
can read it. It is part of a join request, so it holds only what does not change during the worker's life.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import orjson

from forebay.stream.core.model_ref import ModelRef

FORMAT: Final = 1
MAX_TEXT: Final = 300
MAX_VERSION: Final = 999_999_999
MAX_MODELS: Final = 1000


@dataclass(frozen=True, slots=True)
class WorkerMetadata:
    """What a worker announces.

    worker: its instance id.
    url: address of its admin API; None if that is off.
    models: the models that it serves, at least one; the first is its default model.
    release: its version of Forebay.
    follows_rollouts: whether revisions of rollouts change the versions that it serves. `models` has those at its join.
    """

    worker: str
    url: str | None
    models: tuple[ModelRef, ...]
    release: str
    follows_rollouts: bool = False

    def encode(self) -> bytes:
        """Return the metadata as user data. `model` and `version` are the default model, for readers that expect only one."""
        default = self.models[0]
        fields: dict[str, object] = {
            "forebay": FORMAT,
            "worker": self.worker,
            "url": self.url,
            "model": default.name,
            "version": default.version,
            "release": self.release,
        }
        if self.follows_rollouts:
            fields["rollouts"] = True
        if len(self.models) > 1:
            fields["models"] = [list(model) for model in self.models]
        return orjson.dumps(fields)


def decode_member_metadata(user_data: bytes | None) -> WorkerMetadata | None:
    """Parse a member's user data; None if it is not a worker of Forebay, or if any field is invalid. Never raises."""
    try:
        fields = orjson.loads(user_data or b"")
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get("forebay") != FORMAT:
        return None
    worker, url, release = map(fields.get, ("worker", "url", "release"))
    if not (isinstance(worker, str) and isinstance(release, str)):
        return None
    if not (url is None or (isinstance(url, str) and _is_web_url(url))):
        return None
    listed = fields.get("models", [[fields.get("model"), fields.get("version")]])
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_MODELS:
        return None
    models = tuple(model for pair in listed if (model := _decode_model(pair)) is not None)
    if len(models) != len(listed):
        return None
    return WorkerMetadata(
        worker=worker[:MAX_TEXT],
        url=url,
        models=models,
        release=release[:MAX_TEXT],
        follows_rollouts=fields.get("rollouts") is True,
    )


def _decode_model(pair: object) -> ModelRef | None:
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    name, version = pair
    if not isinstance(name, str) or type(version) is not int or not 0 <= version <= MAX_VERSION:
        return None
    return ModelRef(name[:MAX_TEXT], version)


def _is_web_url(url: str) -> bool:
    """Return whether this is an HTTP URL without user, query and control characters."""
    if len(url) > MAX_TEXT or not url.isprintable() or any(char in url for char in " \\?#@"):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
