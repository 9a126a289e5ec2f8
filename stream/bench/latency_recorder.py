"""Latency of each event, from when it was due to be sent until its prediction was readable. Pure."""

from __future__ import annotations

from forebay.stream.publish.pacer import Pacer


class LatencyRecorder:
    """The latencies of an open loop of `events` events, sent at the times of `pacer`.

    Latency counts from the *intended* send time, so that it includes the delay if the system or the sender falls behind.
    Otherwise a stall would appear as one slow event and hide all events whose sending it delayed. The events of the first
    `warm_up_s` seconds are expected, but their latencies are not counted.
    """

    def __init__(self, pacer: Pacer, events: int, *, warm_up_s: float) -> None:
        self._pacer = pacer
        self._events = events
        self._from_s = pacer.start_s + warm_up_s
        self._latency_ms: dict[int, float] = {}
        self._commit_ms: dict[int, float] = {}
        self.duplicates = 0
        """The number of further predictions of an event; only the first one counts."""

    def record(self, number: int, now_s: float, sent_s: float) -> None:
        """Record that the prediction of event `number` was read.

        now_s: when it was read, monotonic seconds.
        sent_s: when the worker sent it, monotonic seconds.

        Raises ValueError if there is no such event.
        """
        if not 0 <= number < self._events:
            raise ValueError(f"event {number} is not one of the {self._events} published events")
        if number in self._latency_ms:
            self.duplicates += 1
        else:
            self._latency_ms[number] = (now_s - self._pacer.due_s(number)) * 1000
            self._commit_ms[number] = (now_s - sent_s) * 1000

    @property
    def missing(self) -> int:
        """The number of events without a prediction so far."""
        return self._events - len(self._latency_ms)

    def latencies_ms(self) -> list[float]:
        """Return the latencies in the order of publishing, without the warm-up and missing events."""
        return [self._latency_ms[number] for number in self._counted()]

    def commits_ms(self) -> list[float]:
        """Return the part of each latency after the worker sent the prediction: the rest of its commit, and reading."""
        return [self._commit_ms[number] for number in self._counted()]

    def _counted(self) -> list[int]:
        return [number for number in sorted(self._latency_ms) if self._pacer.due_s(number) >= self._from_s]
