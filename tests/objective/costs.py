"""What the steps of a simulated worker take (see `plant`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """What the steps of a worker take, in seconds.

    call_s, row_s: of a model call, S(n) = call_s + row_s · n.
    poll_s, event_s: time of the event loop for a poll and for each of its events.
    batch_s: time of the event loop for a micro-batch.
    commit_cpu_s, commit_event_s: time of the event loop for a commit and for each of its events.
    commit_wait_s, commit_wait_event_s: time until the cluster has committed.
    fetch_s: time of a fetch, at whose end a poll can return what was published before it.
    noise: standard deviation of the logarithms of the durations of model calls and of the cluster.
    """

    call_s: float = 0.000_3
    row_s: float = 0.000_001
    poll_s: float = 0.000_3
    event_s: float = 0.000_02
    batch_s: float = 0.000_3
    commit_cpu_s: float = 0.003
    commit_event_s: float = 0.000_02
    commit_wait_s: float = 0.008
    commit_wait_event_s: float = 0.000_000_2
    fetch_s: float = 0.001
    noise: float = 0.15

    def capacity(self, batch_size: int = 4096) -> float:
        """Return the highest rate that a worker of these costs keeps up with, in events per second."""
        loop_s = self.event_s + self.commit_event_s + (self.poll_s + self.batch_s) / batch_size
        return 1 / max(loop_s, self.row_s + self.call_s / batch_size)
