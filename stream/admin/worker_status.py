"""The part of a worker's `/status` that `forebay status` uses, validated because any process may answer. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Measure = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class Health(msgspec.Struct, frozen=True):
    """The verdicts of the worker's probes, with the reasons."""

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()
    breakers: dict[str, str] = {}
    cluster: str = "unknown"
    paused: bool = False


class CurrentRates(msgspec.Struct, frozen=True):
    """Rates and latencies over the last seconds; None if there was nothing to measure."""

    events_per_s: _Measure | None = None
    latency_p50_ms: _Measure | None = None
    latency_p99_ms: _Measure | None = None


class ModelState(msgspec.Struct, frozen=True):
    """One of the models that a worker serves. blocked: why its topics are not read; None if they are read."""

    name: str
    version: int
    blocked: str | None = None
    now: CurrentRates = CurrentRates()


class WorkerStatus(msgspec.Struct, frozen=True):
    """The status that a worker reports.

    worker: instance id of the worker that answers, which may differ from the announced one.
    models: empty if the worker is of an older release.
    """

    worker: str
    health: Health
    now: CurrentRates = CurrentRates()
    uptime_s: _Measure | None = None
    models: tuple[ModelState, ...] = ()


_DECODER = msgspec.json.Decoder(WorkerStatus)


def decode_status(body: bytes) -> WorkerStatus | None:
    """Parse the body of `/status`; None if it is invalid. Never raises."""
    try:
        return _DECODER.decode(body)
    except (ValueError, RecursionError):
        return None
