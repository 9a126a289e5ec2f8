"""One model of a repository, loaded to predict in the caller's process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.signature import Signature
from forebay.stream.offline.outcomes import Outcome
from forebay.stream.offline.worker import Event, OfflineWorker


class LoadedModel:
    """A version of a model, which predicts events as a worker does. See `load`."""

    def __init__(self, worker: OfflineWorker) -> None:
        self._worker = worker
        (self._model,) = worker.models

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._model.name

    @property
    def version(self) -> int:
        """The version."""
        return self._model.version

    @property
    def signature(self) -> Signature:
        """What the model takes and returns."""
        return self._model.signature

    def predict(self, events: Iterable[Event]) -> list[Outcome]:
        """Return the outcome of each event, in order: a prediction, or why there is none.

            model.predict([{"features": {"temperature": 12.5, "sensor": "cellar"}}, [12.5, "cellar"]])

        events: as on the topic: fields, bytes, or a list of features in the order of the signature. `id` and `timestamp` are
            optional. For a model that takes windows, all events are one window, which has one outcome.

        Raises ModelError if the model fails on any input.
        """
        return self._worker.outcomes(events)

    def __repr__(self) -> str:
        return f"<forebay model {self.name}@{self.version}>"


def load(
    repository: Path | str,
    name: str,
    version: int | str | None = None,
    *,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> LoadedModel:
    """Load a model with every check that a worker makes, and return it.

    repository: the folder or URL of the model repository.
    version: the version or an alias; None for the highest.
    settings: settings of a worker by `"section.key"`, such as `{"decision.threshold": 0.4}`. Those of files and of the
        environment do not count.

    Raises ModelError that names the file and the remedy, and ConfigError for wrong settings.
    """
    stored = read_version(repository, name, version)
    chosen = {"model.repository": str(repository), "model.name": name, "model.version": stored.manifest.version}
    return LoadedModel(OfflineWorker.from_config(settings={**settings, **chosen}, environ={}))
