"""Encoded answers that are kept for a moment, so that many requests cost the event loop one encoding. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from forebay.stream.core.clock import Clock

MAX_AGE_S: Final = 0.2
MAX_ENTRIES: Final = 16


class ResponseCache:
    """Keeps at most `MAX_ENTRIES` answers, each for `MAX_AGE_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[object, tuple[float, bytes]] = {}

    def get(self, key: object, make: Callable[[], bytes]) -> bytes:
        """Return the answer for `key`, and make a new one where the last is too old."""
        now_s = self._clock.monotonic_s()
        made_s, answer = self._answers.get(key, (float("-inf"), b""))
        if now_s - made_s < MAX_AGE_S:
            return answer
        answer = make()
        self._answers.pop(key, None)
        self._answers[key] = (now_s, answer)
        if len(self._answers) > MAX_ENTRIES:
            del self._answers[next(iter(self._answers))]
        return answer

    def clear(self) -> None:
        """Forget all answers, since what they say has changed."""
        self._answers.clear()
