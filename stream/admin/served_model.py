"""A served model, with the parts of its lane that the admin API uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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


class ServedModels:
    """The versions that a worker has loaded for the stream. Rollouts add and remove some while it runs.

    models: at least one; the first is the default model. The names of the models, and their order, do not change.
    """

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._loaded = {served.ref: served for served in models}
        self._stable = {ref.name: ref for ref in self._loaded}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(tuple(self._loaded.values()))

    def __contains__(self, ref: ModelRef) -> bool:
        return ref in self._loaded

    def __getitem__(self, ref: ModelRef) -> ServedModel:
        return self._loaded[ref]

    @property
    def default(self) -> ServedModel:
        """The stable version of the first model."""
        return self._loaded[next(iter(self._stable.values()))]

    def stable(self) -> tuple[ModelRef, ...]:
        """Return the stable version of each model."""
        return tuple(self._stable.values())

    def add(self, served: ServedModel) -> None:
        """Add a version. It answers requests once it is stable."""
        self._loaded[served.ref] = served

    def set_stable(self, ref: ModelRef) -> None:
        """Make a version the stable one of its model."""
        self._stable[self._loaded[ref].ref.name] = ref

    def remove(self, ref: ModelRef) -> None:
        """Remove a version that is not the stable one of its model."""
        assert ref not in self._stable.values(), f"{ref} is the stable version"
        self._loaded.pop(ref, None)
