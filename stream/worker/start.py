"""The start of a worker from its settings: the models are loaded, then the worker runs until it is stopped."""

from __future__ import annotations

import asyncio

from forebay.models.backends.protocol import Model
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.inference.loading import ModelLoader
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.telemetry.load_meter import load_meter
from forebay.stream.worker.assembly import run_worker
from forebay.stream.worker.start_versions import load_models, stable_versions
from forebay.stream.worker.supervision import Supervision


def load_initial_models(settings: Settings) -> list[Model]:
    """Return the models to start with, in the order of `settings.models_to_serve()`.

    Raises StoppedEarly on SIGTERM or SIGINT while the topic of rollouts is read, and ModelError.
    """
    served = settings.models_to_serve()
    loader = ModelLoader(served, settings.trust, load_meter())
    versions = asyncio.run(stable_versions(settings, clock=SystemClock())) if settings.rollouts.enabled else {}
    return load_models(served, versions, loader.load)


def load_and_run(settings: Settings, supervision: Supervision) -> Pipeline:
    """Load the models, run a worker until it is stopped, drain, and return the pipeline with its totals.

    Raises StoppedEarly if the stop is requested before the start is complete, or the error that ended the worker.
    """
    return asyncio.run(run_worker(settings, load_initial_models(settings), supervision=supervision))
