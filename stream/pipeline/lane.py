"""A lane: everything that belongs to one served model version between decoding and the commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.inference.executor import Executor
from forebay.stream.inference.instance_schedule import InstanceStatus
from forebay.stream.pipeline.micro_batcher import MicroBatcher


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Limits of one model call, in seconds.

    timeout_s: a longer call opens the circuit breaker.
    hang_timeout_s: a longer call ends the worker.
    """

    timeout_s: float
    hang_timeout_s: float


@dataclass(frozen=True, slots=True)
class Lane:
    """The parts of one lane.

    breaker: the circuit breaker around the model's calls.
    topics: the input topics whose events go to this lane unless they name another model.
    instances: returns the status of each instance of the model; nothing if it has only one.
    """

    model: ModelRef
    executor: Executor
    batcher: MicroBatcher
    breaker: CircuitBreaker
    call_limits: CallLimits
    topics: frozenset[str] = frozenset()
    instances: Callable[[], Sequence[InstanceStatus]] = tuple
