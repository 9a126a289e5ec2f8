"""A served model, with the parts of its lane that the admin API uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forebay.models.artefacts.signature import Signature
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition, WindowStatus
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.inference.executor import Executor
from forebay.stream.output.encoder import PredictionEncoder


@dataclass(frozen=True, slots=True)
class WindowLane:
    """The windows of a model that takes them.

    plan: how to build windows.
    statuses: returns the status of the windows of each partition.
    """

    plan: WindowPlan
    statuses: Callable[[], Mapping[TopicPartition, WindowStatus]]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the worker serves.

    device: where it runs, for display.
    settings: its settings, with inherited values filled in.
    windows: None if each event is one row.
    """

    ref: ModelRef
    signature: Signature
    device: str
    settings: ServedModelSettings
    executor: Executor
    breaker: CircuitBreaker
    encoder: PredictionEncoder
    windows: WindowLane | None = None

    @property
    def max_batch_size(self) -> int:
        """The largest number of its events in one request."""
        return self.settings.batch.max_batch_size
