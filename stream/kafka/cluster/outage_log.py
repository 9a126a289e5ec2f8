"""The log of outages: one line when brokers become unreachable and one when they return, without the client's own lines."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from forebay.stream.core.clock import Clock
from forebay.stream.core.time_format import rfc3339

log = logging.getLogger("forebay.kafka.cluster")

REMIND_S: Final = 300.0
FORGET_S: Final = 3_600.0
"""A broker that is absent for this long is taken to have been removed."""


class OutageLog:
    """Logs changes in which brokers answer.

    client_log: the client's logger. Its level is CRITICAL during an outage, because the client logs every connection attempt as
    an error, many per second on a large cluster. At level DEBUG it stays as it is.
    """

    def __init__(self, *, clock: Clock, client_log: logging.Logger) -> None:
        self._clock = clock
        self._client_log = client_log
        self._client_level: int | None = None
        self._known: dict[int, str] = {}
        self._absent: dict[int, tuple[float, str]] = {}
        self._silent: tuple[float, str] | None = None
        self._reminded_s = 0.0

    def on_answer(self, brokers: Mapping[int, str]) -> None:
        """Record that a broker has answered. brokers: the address, host:port, of each broker in the cluster, by id."""
        now_s = self._clock.monotonic_s()
        if self._silent is not None:
            since_s, since = self._silent
            self._silent = None
            log.warning("the cluster answers again, after %.0f s (since %s)", now_s - since_s, since)
        for node, address in self._known.items():
            if node not in brokers and node not in self._absent:
                self._absent[node] = now_s, self._now()
                log.warning("broker %d (%s) has left the cluster; %d remain", node, address, len(brokers))
        for node in sorted(self._absent.keys() & brokers.keys()):
            since_s, since = self._absent.pop(node)
            log.warning("broker %d (%s) is back, after %.0f s (since %s)", node, brokers[node], now_s - since_s, since)
        for node in [node for node, (since_s, _) in self._absent.items() if now_s - since_s >= FORGET_S]:
            del self._absent[node], self._known[node]
        self._known.update(brokers)
        self._set_client_level()

    def on_silence(self, reason: str) -> None:
        """Record that no broker answers."""
        now_s = self._clock.monotonic_s()
        if self._silent is None:
            self._silent, self._reminded_s = (now_s, self._now()), now_s
            log.warning("no broker answers since %s, trying again until one does: %s", self._silent[1], reason)
        elif now_s - self._reminded_s >= REMIND_S:
            self._reminded_s = now_s
            log.warning("no broker answers since %s, for %.0f s: %s", self._silent[1], now_s - self._silent[0], reason)
        self._set_client_level()

    def stop(self) -> None:
        """End the outage, if there is one, and restore the client's log level."""
        self._silent, self._absent = None, {}
        self._set_client_level()

    def _set_client_level(self) -> None:
        outage = self._silent is not None or bool(self._absent)
        if outage and self._client_level is None and self._client_log.getEffectiveLevel() > logging.DEBUG:
            self._client_level = self._client_log.level
            self._client_log.setLevel(logging.CRITICAL)
        elif not outage and self._client_level is not None:
            self._client_log.setLevel(self._client_level)
            self._client_level = None

    def _now(self) -> str:
        return rfc3339(self._clock.wall_ms())
