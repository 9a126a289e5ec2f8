"""A line in the log about personal data that was found, at most one a minute, without any of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

from forebay.stream.core.clock import Clock

INTERVAL_S: Final = 60.0

log = logging.getLogger("forebay.privacy")

Findings = Mapping[tuple[str, str], int]
"""Numbers of findings by place and detector."""


class FindingsLog:
    """Reports what was found since the last line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_s = 0.0
        self._reported: Counter[tuple[str, str]] = Counter()

    def report(self, findings: Findings) -> None:
        """Write a line if there are new findings and a minute has passed."""
        now_s = self._clock.monotonic_s()
        if now_s < self._next_s:
            return
        new = Counter(findings) - self._reported
        if not new:
            return
        self._next_s = now_s + INTERVAL_S
        self._reported = Counter(findings)
        listed = ", ".join(f"{detector} in {place} ({number})" for (place, detector), number in sorted(new.items()))
        log.info("found personal data in what is written: %s", listed)
