"""Settings of the objective on latency."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forebay.stream.config.section import Section


class ObjectiveSection(Section):
    """An objective on latency. With one, the worker chooses sizes and waits of micro-batches and how often it commits."""

    p99_ms: int | None = Field(
        default=None,
        ge=1,
        le=600_000,
        description="The 99th percentile of the time from an event's record timestamp until its outcome is committed, over "
        "ten seconds, should be at most this. batch.max_queue_delay_ms is then chosen by the worker, and "
        "batch.max_batch_size is an upper limit. Default: none.",
    )
    prefer: Literal["latency", "efficiency"] = Field(
        default="latency",
        description="latency: commit as soon as results are ready, and less often only if the rate demands it. efficiency: "
        "commit as rarely as p99_ms permits, which saves CPU time here and on the brokers.",
    )
