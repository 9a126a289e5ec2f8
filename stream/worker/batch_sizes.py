"""Sizes of micro-batches and polls for models with very many outputs or windows. Pure."""

from __future__ import annotations

from typing import Final

from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.output.encoder import prediction_bytes

MAX_BATCH_OUTPUT_BYTES: Final = 32 << 20
"""Approximate limit of the predictions of one micro-batch. Models with very many outputs get smaller micro-batches."""

MAX_WINDOWS_PER_POLL: Final = 32_768
"""Limit of windows times events in one poll: about 50 ms of the event loop."""


def batch_size(configured: int, output_dim: int) -> int:
    """Return the largest number of rows in a micro-batch: `configured`, or fewer to limit the size of the predictions."""
    return max(1, min(configured, MAX_BATCH_OUTPUT_BYTES // prediction_bytes(output_dim)))


def poll_size(configured: int, plan: WindowPlan | None) -> int:
    """Return the largest number of events in one poll: `configured`, or fewer if each is in very many windows.

    Limits of windows are checked, and other tasks run on the event loop, between two polls.
    """
    return configured if plan is None else max(1, min(configured, MAX_WINDOWS_PER_POLL // plan.spec.windows_per_event))
