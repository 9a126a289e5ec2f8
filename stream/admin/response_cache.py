"""A short-lived cache of encoded responses, so that many requests cost the event loop one encoding. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from forebay.stream.core.clock import Clock

MAX_AGE_S: Final = 0.2
MAX_ENTRIES: Final = 16


class ResponseCache:
    """Caches at most `MAX_ENTRIES` responses, each for `MAX_AGE_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[object, tuple[float, bytes]] = {}

    def get(self, key: object, make: Callable[[], bytes]) -> bytes:
        """Return the cached response for `key`; call `make` if there is none or it is too old."""
        now_s = self._clock.monotonic_s()
        made_s, response = self._entries.get(key, (float("-inf"), b""))
        if now_s - made_s < MAX_AGE_S:
            return response
        response = make()
        self._entries.pop(key, None)
        self._entries[key] = (now_s, response)
        if len(self._entries) > MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        return response

    def clear(self) -> None:
        """Remove all responses, because the state that they show has changed."""
        self._entries.clear()
