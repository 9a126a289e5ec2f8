"""The part of a worker's `/status` that `forebay status` uses. Validated: any process may answer there. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Measure = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class Health(msgspec.Struct, frozen=True):
    """The worker's own verdicts, and what explains them."""

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()
    breakers: dict[str, str] = {}
    cluster: str = "unknown"
    paused: bool = False


class CurrentRates(msgspec.Struct, frozen=True):
    """Rates and latencies of the last seconds; None where nothing was measured."""

    events_per_s: _Measure | None = None
    latency_p50_ms: _Measure | None = None
    latency_p99_ms: _Measure | None = None


class WorkerStatus(msgspec.Struct, frozen=True):
    """worker: the instance that answers, which need not be the one that was announced."""

    worker: str
    health: Health
    now: CurrentRates = CurrentRates()
    uptime_s: _Measure | None = None


_DECODER = msgspec.json.Decoder(WorkerStatus)


def decode_status(body: bytes) -> WorkerStatus | None:
    """Parse the body of `/status`; None if it is not one. Never raises."""
    try:
        return _DECODER.decode(body)
    except (ValueError, RecursionError):
        return None
