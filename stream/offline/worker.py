"""A worker without a broker, for tests and scripts: events in, outcomes out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson

from forebay.models.backends.protocol import Model
from forebay.models.backends.python.declared import declaration_of
from forebay.models.registration.register import register
from forebay.schemas.errors import ConfigError, ModelError
from forebay.schemas.topics import topic_name
from forebay.stream.admin.predict_requests import AnsweredPart, PredictRequest, RequestRecord, build_response
from forebay.stream.admin.predict_window import build_rejection_response, build_window, build_window_response
from forebay.stream.admin.time_slices import TimeSlices
from forebay.stream.config.load import load_settings
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, Epoch, MicroBatch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.inference.batch_runner import BatchRunner
from forebay.stream.inference.decision import decision_layer
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.loading import ModelLoader
from forebay.stream.offline.outcomes import Outcome, outcome_of
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.telemetry.load_meter import load_meter
from forebay.stream.worker.batch_sizes import batch_size
from forebay.stream.worker.lane_assembly import prediction_encoder
from forebay.stream.worker.window_plan import window_plan

Event = Mapping[str, Any] | Sequence[Any] | bytes | str
"""An event as on the topic: its bytes or text, or its fields. A list stands for its features."""

_EPOCH: Final = Epoch(-1, "", None, 0)


class _Served(NamedTuple):
    """A model with what runs it."""

    model: Model
    runner: BatchRunner
    encoder: PredictionEncoder
    max_batch_size: int
    windows: WindowPlan | None


class OfflineWorker:
    """Predicts events as a worker with the same settings does, without a broker.

    Rows are decoded, prepared, scored, decided and encoded by the code of the worker. There are no topics, offsets, commits,
    duplicates and rollouts. For a model that takes windows, the events of one call are one window.

    clock: gives events without a timestamp the current time, and decides about deadlines.

    Raises ConfigError and ModelError if the settings or a model cannot be used.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._prefix = settings.topics.prefix
        self._default_topic = settings.input.topics[0]
        models = settings.models_to_serve()
        loader = ModelLoader(models, settings.trust, load_meter())
        served = [self._served(loader.load(one), one, settings) for one in models]
        self._served_by_ref = {ModelRef(one.model.name, one.model.version): one for one in served}
        decoded = [
            DecodedModel(ref, one.model.signature, frozenset(topic_name(self._prefix, topic) for topic in of.topics))
            for (ref, one), of in zip(self._served_by_ref.items(), models, strict=True)
        ]
        self._decoder = Decoder(
            decoded,
            max_event_bytes=settings.input.max_event_bytes,
            max_key_bytes=settings.input.max_key_bytes,
            formats=event_formats(settings.input, prefix=self._prefix),
        )
        self._slice = min(one.max_batch_size for one in served)
        self._has_windows = any(one.windows is not None for one in served)
        self._time_slices = TimeSlices(self._clock, lambda _seconds: None)

    @classmethod
    def from_config(
        cls,
        path: Path | str | None = None,
        *,
        settings: Mapping[str, object] = MappingProxyType({}),
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> OfflineWorker:
        """Return a worker with the settings of a file, of the environment and of `settings`; later ones override earlier ones.

        path: of `forebay.toml`; None for the defaults.
        settings: values by `"section.key"`.
        environ: environment variables; None for those of this process.
        """
        variables = os.environ if environ is None else environ
        loaded = load_settings(None if path is None else Path(path), variables, settings)
        return cls(loaded.settings, clock=clock)

    @classmethod
    def from_model(
        cls, model: Any, *, settings: Mapping[str, object] = MappingProxyType({}), clock: Clock | None = None
    ) -> OfflineWorker:
        """Return a worker of what `forebay.model` declares, or of a trained model, as if it had been registered.

        The model is registered in a temporary folder, with every check, and loaded from there. A declared model is trusted.

        model: as `forebay.register` takes it. settings: values by `"section.key"`; files and the environment do not count.
        """
        declaration = declaration_of(model)
        with TemporaryDirectory() as folder:
            done = register(model, name="model" if declaration is None else declaration.name, repository=folder)
            chosen: dict[str, object] = {"model.repository": folder, "model.name": done.name}
            if done.module:
                chosen["trust.modules"] = [done.module]
            return cls.from_config(settings={**settings, **chosen}, environ={}, clock=clock)

    @property
    def models(self) -> Sequence[Model]:
        """The loaded models; the first is the default model."""
        return [one.model for one in self._served_by_ref.values()]

    def outcomes(
        self,
        events: Iterable[Event],
        *,
        topic: str | None = None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> list[Outcome]:
        """Return the outcome of each event, in order; of one window for a model that takes windows.

        topic: the input topic, without the prefix, which chooses model, format and mapping; None for the first one.
        key, headers: of all records.
        """
        name = topic_name(self._prefix, topic or self._default_topic)
        now_ms = self._clock.wall_ms()
        values = iter([_value_of(event, index, now_ms) for index, event in enumerate(events)])
        found: list[Outcome] = []
        size = 2**31 if self._has_windows else self._slice
        while batch := list(islice(values, size)):
            records = [RequestRecord(index, now_ms, key, value, headers=headers) for index, value in enumerate(batch)]
            documents = self._documents(records, TopicPartition(name, 0))
            found += [outcome_of(len(found) + index, document) for index, document in enumerate(documents)]
        return found

    def _documents(self, records: Sequence[RequestRecord], partition: TopicPartition) -> Iterator[Mapping[str, Any]]:
        chunks = [chunk for chunk in self._decoder.decode({partition: records}, _EPOCH) if chunk.num_records]
        if any(self._served_by_ref[chunk.model].windows is not None for chunk in chunks):
            return iter([self._window_document(chunks)])
        parts = []
        for chunk in chunks:
            served = self._served_by_ref[chunk.model]
            result = _run(served, chunk, self._clock) if len(chunk.records) else None
            parts.append(AnsweredPart(chunk, result, served.encoder))
        request = PredictRequest(tuple(records), True)
        _, documents = build_response(request, parts, time_slices=self._time_slices)
        return iter(documents)

    def _window_document(self, chunks: Sequence[Chunk]) -> Mapping[str, Any]:
        rejection = build_rejection_response(chunks)
        if rejection is not None:
            document: Mapping[str, Any] = rejection[1]
            return document
        if len(chunks) > 1:
            raise ConfigError(
                "the events are for several models, and one of them takes windows",
                remedy="give the events of one model in a call",
            )
        (chunk,) = chunks
        served = self._served_by_ref[chunk.model]
        assert served.windows is not None
        window = build_window(chunk, served.windows)
        _, document = build_window_response(window, _run(served, window, self._clock), served.encoder)
        return document

    def _served(self, model: Model, served: ServedModelSettings, settings: Settings) -> _Served:
        ref, signature = ModelRef(model.name, model.version), model.signature
        decision = decision_layer(
            served.decision,
            signature,
            ref,
            served.decision_section,
            own_threshold=getattr(model, "threshold", None),
        )
        return _Served(
            model,
            BatchRunner(model, self._clock, decision=decision),
            prediction_encoder(model, settings),
            max_batch_size=batch_size(served.batch.max_batch_size, signature.output_dim),
            windows=window_plan(served.window, signature, ref, served.window_section),
        )


def _run(served: _Served, part: BatchPart, clock: Clock) -> BatchResult:
    now_s = clock.monotonic_s()
    result = served.runner.run(MicroBatch(0, (part,), "request", now_s), now_s)
    if isinstance(result, Deferred):
        model = served.model
        raise ModelError(
            f"{model.name}@{model.version} fails on any input: {result.reason}",
            remedy="`forebay models validate` checks the files of the version",
        )
    return result


def _value_of(event: Event, index: int, now_ms: int) -> bytes:
    """Return the value of the record of an event; id and timestamp are added to fields that lack them."""
    if isinstance(event, bytes):
        return event
    if isinstance(event, str):
        return event.encode()
    fields = dict(event) if isinstance(event, Mapping) else {"input": list(event)}
    return orjson.dumps(
        {"id": str(index), "timestamp": now_ms} | fields, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    )
