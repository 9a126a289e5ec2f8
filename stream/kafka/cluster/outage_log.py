"""One line when brokers go away, one when they are back, and the client's own lines kept back between them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from forebay.stream.core.clock import Clock
from forebay.stream.core.time_format import rfc3339

log = logging.getLogger("forebay.kafka.cluster")

REMIND_S: Final = 300.0
FORGET_S: Final = 3_600.0
"""A broker that is away for so long was removed."""


class OutageLog:
    """Logs changes in which brokers answer. client_log: the client's logger, which is raised to CRITICAL during an outage.

    It logs every attempt of every connection as an error, many a second on a large cluster. At the level DEBUG it is left
    alone.
    """

    def __init__(self, *, clock: Clock, client_log: logging.Logger) -> None:
        self._clock = clock
        self._client_log = client_log
        self._client_level: int | None = None
        self._known: dict[int, str] = {}
        self._away: dict[int, tuple[float, str]] = {}
        self._silent: tuple[float, str] | None = None
        self._reminded_s = 0.0

    def answered(self, brokers: Mapping[int, str]) -> None:
        """A broker has answered; brokers: id -> host:port of those in the cluster now."""
        now_s = self._clock.monotonic_s()
        if self._silent is not None:
            since_s, since = self._silent
            self._silent = None
            log.warning("the cluster answers again, after %.0f s (since %s)", now_s - since_s, since)
        for node, address in self._known.items():
            if node not in brokers and node not in self._away:
                self._away[node] = now_s, self._now()
                log.warning("broker %d (%s) has left the cluster; %d are there", node, address, len(brokers))
        for node in sorted(self._away.keys() & brokers.keys()):
            since_s, since = self._away.pop(node)
            log.warning("broker %d (%s) is back, after %.0f s (since %s)", node, brokers[node], now_s - since_s, since)
        for node in [node for node, (since_s, _) in self._away.items() if now_s - since_s >= FORGET_S]:
            del self._away[node], self._known[node]
        self._known.update(brokers)
        self._quiet()

    def silent(self, reason: str) -> None:
        """No broker answers."""
        now_s = self._clock.monotonic_s()
        if self._silent is None:
            self._silent, self._reminded_s = (now_s, self._now()), now_s
            log.warning("no broker answers since %s, trying again until one does: %s", self._silent[1], reason)
        elif now_s - self._reminded_s >= REMIND_S:
            self._reminded_s = now_s
            log.warning("no broker answers since %s, for %.0f s: %s", self._silent[1], now_s - self._silent[0], reason)
        self._quiet()

    def stop(self) -> None:
        """Let the client log again."""
        self._silent, self._away = None, {}
        self._quiet()

    def _quiet(self) -> None:
        outage = self._silent is not None or bool(self._away)
        if outage and self._client_level is None and self._client_log.getEffectiveLevel() > logging.DEBUG:
            self._client_level = self._client_log.level
            self._client_log.setLevel(logging.CRITICAL)
        elif not outage and self._client_level is not None:
            self._client_log.setLevel(self._client_level)
            self._client_level = None

    def _now(self) -> str:
        return rfc3339(self._clock.wall_ms())
