"""How many rows a micro-batch may hold and how many events a poll may bring, where one makes very much of them. Pure."""

from __future__ import annotations

from typing import Final

from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.output.encoder import prediction_bytes

MAX_BATCH_OUTPUT_BYTES: Final = 32 << 20
"""The predictions of one micro-batch, about. It makes smaller micro-batches for models of very many outputs."""

MAX_WINDOWS_PER_POLL: Final = 32_768
"""Into how many windows the events of one poll may be put, each in as many as it is in: about 50 ms of the event loop."""


def batch_size(most: int, output_dim: int) -> int:
    """Return how many rows a micro-batch may hold: `most`, or as many as have about `MAX_BATCH_OUTPUT_BYTES` of predictions."""
    return max(1, min(most, MAX_BATCH_OUTPUT_BYTES // prediction_bytes(output_dim)))


def poll_size(most: int, plan: WindowPlan | None) -> int:
    """Return how many events one poll may bring: fewer where each is put into very many windows.

    Bounds of windows are checked, and the event loop given to others, between two polls.
    """
    return most if plan is None else max(1, min(most, MAX_WINDOWS_PER_POLL // plan.spec.windows_per_event))
