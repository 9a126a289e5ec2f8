"""Which event became readable when, against when it was meant to be sent. Pure."""

from __future__ import annotations

from forebay.stream.publish.pacer import Pacer


class LatencyRecorder:
    """Latencies of an open loop of `events` events that `pacer` plans.

    They count from the *intended* time: where the system, or the sender, falls behind, the waiting counts (else a stall
    would show as one slow event and hide all those that it kept from being sent). The events of the first `warm_up_s`
    seconds are expected, but not counted.
    """

    def __init__(self, pacer: Pacer, events: int, *, warm_up_s: float) -> None:
        self._pacer = pacer
        self._events = events
        self._from_s = pacer.start_s + warm_up_s
        self._latency_ms: dict[int, float] = {}
        self._commit_ms: dict[int, float] = {}
        self.duplicates = 0
        """Predictions of events that had been answered; of those the first counts."""

    def record(self, number: int, now_s: float, sent_s: float) -> None:
        """The prediction of event `number` was read at `now_s`, and the worker had sent it at `sent_s`, monotonic seconds.

        Raises ValueError for no such event.
        """
        if not 0 <= number < self._events:
            raise ValueError(f"event {number} is none of the {self._events} that were published")
        if number in self._latency_ms:
            self.duplicates += 1
        else:
            self._latency_ms[number] = (now_s - self._pacer.due_s(number)) * 1000
            self._commit_ms[number] = (now_s - sent_s) * 1000

    @property
    def missing(self) -> int:
        """Events without a prediction as yet."""
        return self._events - len(self._latency_ms)

    def latencies_ms(self) -> list[float]:
        """Of what was answered, the warm-up left out, in the order of publishing."""
        return [self._latency_ms[number] for number in self._counted()]

    def commits_ms(self) -> list[float]:
        """The part of each from the worker's sending of the prediction on: the rest of its commit, and being read."""
        return [self._commit_ms[number] for number in self._counted()]

    def _counted(self) -> list[int]:
        return [number for number in sorted(self._latency_ms) if self._pacer.due_s(number) >= self._from_s]
