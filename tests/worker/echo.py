"""A real worker process with a model for tests:

    python -m tests.worker.echo '{"models": [{"name": ..., "mode": ...}], "settings": {...}, "failpoints": {...}}'

With the mode stored, the models are those of the settings, from their repository.

A model's only output is a hash of its name and the row's features, so that a buffer used twice shows in the predictions, and
so does a row that another model was given.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forebay.models.artefacts.preprocessing import Preprocessing, RowCheck
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.models.backends.protocol import Model, Scores
from forebay.schemas.errors import ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import FloatMatrix
from forebay.stream.core.stop_request import StoppedEarly
from forebay.stream.inference.loading import ModelLoader
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.supervisor.run import fork_for, run_processes
from forebay.stream.telemetry.load_meter import load_meter
from forebay.stream.telemetry.log_setup import set_up_logging
from forebay.stream.worker.assembly import run_worker
from forebay.stream.worker.supervision import Supervision
from tests.privacy.planted import planted
from tests.worker import failpoints

ALONE = "echo"
"""The name of a worker's only model."""
NUM_FEATURES = 4
STEPS = 6
"""Number of a window's events that the model takes, in the mode windows."""
POISON = 666.0
"""First feature of the rows on which the model fails, in some modes."""
CHECK = Preprocessing((RowCheck(NUM_FEATURES, (0,), (None,), (POISON - 1,), allow_missing=(True,), names=("first",)),))
"""What rejects these rows in the mode reject."""


def feature_hash(row: FloatMatrix, model: str = ALONE) -> float:
    """Return 24 bits of a checksum, which float32 represents exactly."""
    seed = 0 if model == ALONE else zlib.crc32(model.encode())
    return float(zlib.crc32(np.ascontiguousarray(row, dtype="<f4").tobytes(), seed) & 0xFFFFFF)


@functools.cache
def _personal_texts() -> list[str]:
    return [text for _, text in planted(10_000, seed=9)]


def personal_text(number: int) -> str:
    """Return one of ten thousand strings of personal data."""
    return _personal_texts()[number]


class HashModel:
    """Predicts a hash of the features.

    mode: echo; quote: raises on poisoned rows and quotes them; personal: raises with the planted personal data whose number is
        the second feature; raise, nan, reject or hang on poisoned rows; slow: 50 ms per
        call; broken: raises on every row while the file `flag` exists.
    flag: with a flag, the mode hang also applies only while the file exists.
    width: number of features.
    features: named features instead, each as in a manifest.
    """

    version = 1

    def __init__(
        self,
        mode: str,
        flag: Path | None = None,
        *,
        name: str = ALONE,
        width: int = NUM_FEATURES,
        features: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.name = name
        self.signature = self._signature(width)
        if features:
            named = tuple(Feature(**feature) for feature in features)
            self.signature = Signature(named, (len(named),), "regression", 1)
        self._mode = mode
        self._flag = flag

    def _signature(self, width: int) -> Signature:
        return Signature((), (width,), "regression", 1)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        if self._mode == "broken" and self._flagged():
            raise RuntimeError("the device is gone")

    def _flagged(self) -> bool:
        return self._flag is None or self._flag.exists()

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return CHECK.apply(x_BF, checked=True) if self._mode == "reject" else x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        poisoned = x_BG[:, 0] == POISON
        if self._mode == "slow":
            time.sleep(0.05)
        if poisoned.any() and self._mode == "quote":
            raise ValueError(f"cannot use {x_BG.tolist()} {x_BG[0].tolist()[1]!r}")
        if poisoned.any() and self._mode == "personal":
            raise ValueError(f"no answer for {personal_text(int(x_BG[poisoned][0, 1]))}, sorry")
        if poisoned.any() and self._mode == "raise":
            raise RuntimeError("the model chokes on this row")
        while poisoned.any() and self._mode == "hang" and self._flagged():
            time.sleep(0.1)
        if self._mode == "broken" and self._flagged():
            raise RuntimeError("the device is gone")
        values_BO = np.array([[feature_hash(row, self.name)] for row in x_BG], dtype=np.float32).reshape(len(x_BG), 1)
        if self._mode == "nan":
            values_BO[poisoned] = np.nan
        return Scores(values_BO)


class WindowHashModel(HashModel):
    """Predicts a hash of the last STEPS events of each window, in the mode windows."""

    def _signature(self, width: int) -> Signature:
        return Signature(
            features=(), shape=(width,), task="regression", output_dim=1, labels=(), window=WindowInput(STEPS)
        )


class SteppingClock(SystemClock):
    """A clock whose wall time jumps by `by_ms` forward and back again, every `every_s`."""

    def __init__(self, *, every_s: float, by_ms: int) -> None:
        self._every_s = every_s
        self._by_ms = by_ms

    def wall_ms(self) -> int:
        return super().wall_ms() + self._by_ms * (int(self.monotonic_s() / self._every_s) % 2)


def build_model(mode: str, flag: str | None = None, **options: Any) -> HashModel:
    """Build the model that a test has described."""
    return (WindowHashModel if mode == "windows" else HashModel)(mode, None if flag is None else Path(flag), **options)


def load_models(settings: Settings) -> list[Model]:
    """Load the models of the settings from their repository, as `forebay run` does."""
    served = settings.models_to_serve()
    loader = ModelLoader(served, settings.trust, load_meter())
    return [loader.load(entry) for entry in served]


def main() -> int:
    arguments = json.loads(sys.argv[1])
    settings = Settings.model_validate_json(json.dumps(arguments["settings"]))
    set_up_logging("info", settings.log.format)
    clock = SteppingClock(**arguments["clock"]) if "clock" in arguments else None
    failpoints.install(arguments.get("failpoints", {}))

    def run(settings: Settings, supervision: Supervision | None = None) -> Pipeline:
        models: list[Model]
        if arguments["models"] == [{"mode": "stored"}]:
            models = load_models(settings)
        else:
            models = [build_model(**described) for described in arguments["models"]]
        return asyncio.run(run_worker(settings, models, clock=clock, supervision=supervision))

    try:
        if settings.worker.processes != 1:
            run_processes(settings, fork_for(settings, run), lambda: settings)
            return 0
        pipeline = run(settings)
    except StoppedEarly:
        return 0  # nothing was read yet, as in `forebay run`
    except ForebayError as error:
        print(f"stopped: {error.kind}: {error.message}", file=sys.stderr, flush=True)
        return 1
    print(pipeline.totals, file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
