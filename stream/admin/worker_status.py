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
    waiting_for_schemas: tuple[str, ...] = ()


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


class CanaryState(msgspec.Struct, frozen=True):
    """A canary that a worker serves. weight: its share of the keys in percent."""

    version: int
    weight: float


class ShadowState(msgspec.Struct, frozen=True):
    """A shadow that a worker runs. sample: its share of the events, at most 1."""

    version: int
    sample: float


class RolloutState(msgspec.Struct, frozen=True):
    """The rollout of one model in a worker.

    accepted: the revision that is in force according to the topic `rollouts`, as far as the worker has read it.
    applied: the revision that the worker serves; `stable`, `canaries` and `shadows` are those of it.
    loading: the version that the worker is loading; None if it loads nothing.
    error: why the worker cannot apply the accepted revision; None if it can.
    resident: versions in memory, which can be served without loading them.
    """

    model: str
    accepted: int
    applied: int
    stable: int
    canaries: tuple[CanaryState, ...] = ()
    shadows: tuple[ShadowState, ...] = ()
    loading: int | None = None
    error: str | None = None
    resident: tuple[int, ...] = ()


class ObjectiveState(msgspec.Struct, frozen=True):
    """The objective on latency of a worker. detail: what binds, if it is not met."""

    p99_ms: _Measure
    met: bool
    measured_p99_ms: _Measure | None = None
    binding: str | None = None
    detail: str = ""


class WorkerStatus(msgspec.Struct, frozen=True):
    """The status that a worker reports.

    worker: instance id of the worker that answers, which may differ from the announced one.
    models: empty if the worker is of an older release.
    rollouts: empty if rollouts are disabled or the worker is of an older release.
    objective: None without an objective on latency.
    """

    worker: str
    health: Health
    now: CurrentRates = CurrentRates()
    uptime_s: _Measure | None = None
    models: tuple[ModelState, ...] = ()
    rollouts: tuple[RolloutState, ...] = ()
    objective: ObjectiveState | None = None


_DECODER = msgspec.json.Decoder(WorkerStatus)


def decode_status(body: bytes) -> WorkerStatus | None:
    """Parse the body of `/status`; None if it is invalid. Never raises."""
    try:
        return _DECODER.decode(body)
    except (ValueError, RecursionError):
        return None
