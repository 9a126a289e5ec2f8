"""Train a net with several ranks, and with checkpoints: what connects the loop with `models/distributed`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from forebay.models.backends.torch.architectures import Net
from forebay.models.distributed.checkpoints import CheckpointFolder
from forebay.models.distributed.exchange import RankExchange
from forebay.models.distributed.options import DistributedOptions
from forebay.models.distributed.ranks import Ranks
from forebay.models.distributed.session import Session
from forebay.models.distributed.state import State
from forebay.models.training.fitted_model import FittedModel
from forebay.models.training.loop import LoopObserver, Rows, StepReport
from forebay.models.training.prepared_data import PreparedData
from forebay.models.training.recipe import Recipe
from forebay.models.training.training_state import EpochRecord, Snapshot, TrainingState

# What differs among the ranks in a snapshot of the training's state.
PRIVATE: Final = ("epoch.", "random.")
# Asking all ranks whether one was interrupted takes a message.
_STEPS_BETWEEN_QUESTIONS: Final = 8
_HASHED_ROWS: Final = 65_536
_NOT_OF_THE_RESULT: Final = ("register", "tune")

_LOGGER: Final = logging.getLogger("forebay.train")


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a training is distributed and resumed.

    ranks: this process among the ranks; None for a training in one process.
    checkpoints: the folder of the checkpoints; None for none.
    """

    options: DistributedOptions = field(default_factory=DistributedOptions)
    ranks: Ranks | None = None
    checkpoints: Path | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process evaluates and registers."""
        return self.ranks is None or self.ranks.rank == 0

    def folder(self, recipe: Recipe, data: PreparedData) -> CheckpointFolder | None:
        """Return the checkpoints of this recipe and data."""
        if self.checkpoints is None:
            return None
        return CheckpointFolder(
            self.checkpoints, fingerprint(recipe, data, self.options), self.options.keep_checkpoints
        )

    def finish(self, recipe: Recipe, data: PreparedData, fitted: FittedModel) -> None:
        """Remove the checkpoints of a training that has ended; one that was interrupted can be resumed."""
        folder = self.folder(recipe, data)
        if folder is not None and self.is_first and fitted.end != "interrupted":
            folder.clear()

    @contextmanager
    def join(self, recipe: Recipe, data: PreparedData, net: Net) -> Iterator[Session]:
        """Connect this process with the other ranks while the net is trained.

        Raises RankLost if they do not meet in time, ModelError for checkpoints of another training.
        """
        session = Session.join(
            self.ranks,
            self.options,
            gradient_bytes=sum(parameter.nbytes for parameter in net.parameters() if parameter.requires_grad),
            seed=recipe.training.seed,
            folder=self.folder(recipe, data),
            private=PRIVATE,
        )
        try:
            yield session
        finally:
            session.close()


def resume(session: Session, state: TrainingState) -> None:
    """Continue from the last checkpoint, if there is one."""
    if session.resumed is not None:
        saved = session.resumed.state
        state.restore(Snapshot(saved.tensors, saved.values))
        if session.exchange.rank == 0:
            _LOGGER.info("resumed from the checkpoint after step %d", session.resumed.step)


class CheckpointObserver:
    """Saves the state every `interval` steps, and passes everything on to another observer.

    steps: of an epoch.
    """

    def __init__(self, session: Session, observer: LoopObserver, *, interval: int, steps: int) -> None:
        self._session = session
        self._observer = observer
        self._interval = interval
        self._steps = steps

    def on_step(self, state: TrainingState, report: Callable[[], StepReport]) -> None:
        """Save a checkpoint after every `interval` steps."""
        self._observer.on_step(state, report)
        done = state.epoch * self._steps + state.step
        if self._interval and done % self._interval == 0:
            snapshot = state.snapshot()
            self._session.save(done, State(snapshot.tensors, snapshot.values))

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        """Pass the record on."""
        self._observer.on_epoch(state, record)


class AgreedStop:
    """Whether any rank was interrupted: the same answer on all ranks, which all ask after the same steps.

    should_stop: whether this process was interrupted.
    """

    def __init__(self, exchange: RankExchange, should_stop: Callable[[], bool]) -> None:
        self._exchange = exchange
        self._should_stop = should_stop
        self._questions = 0

    def __call__(self) -> bool:
        """Return the answer; with several ranks, the others' interruptions count at every eighth step."""
        if self._exchange.world_size == 1:
            return self._should_stop()
        self._questions += 1
        if self._questions % _STEPS_BETWEEN_QUESTIONS:
            return False
        return self._exchange.total(float(self._should_stop())) > 0


def fingerprint(recipe: Recipe, data: PreparedData, options: DistributedOptions) -> str:
    """Return what identifies a training: recipe, prepared rows, and what changes the weights in the options."""
    document = recipe.model_dump(mode="json", by_alias=True, exclude=set(_NOT_OF_THE_RESULT) | {"register_"})
    document["distributed"] = [
        options.strategy,
        options.compression,
        options.density,
        options.power_sgd_rank,
        options.bucket_mb,
        options.lost_rank,
    ]
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for rows in (data.training, data.validation):
        for part in _parts(rows):
            digest.update(part)
    return digest.hexdigest()


def _parts(rows: Rows) -> Iterator[bytes]:
    for start in range(0, len(rows), _HASHED_ROWS):
        part = slice(start, start + _HASHED_ROWS)
        yield np.ascontiguousarray(rows.x[part]).tobytes()
        yield np.ascontiguousarray(rows.y[part]).tobytes()
