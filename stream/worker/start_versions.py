"""Which versions a worker loads at its start: those of the current revisions rather than the configured ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from forebay.models.backends.protocol import Model
from forebay.schemas.errors import ForebayError
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.sections import Settings
from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import Clock
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.kafka.cluster.bootstrap import wait_for_cluster
from forebay.stream.worker.commit_assembly import retry_backoff

log = logging.getLogger("forebay.rollouts")


async def stable_versions(settings: Settings, *, clock: Clock) -> Mapping[str, int]:
    """Return the stable version of each model that has a revision, once the cluster is reachable.

    Nothing is applied: the worker reads the topic again before it joins its group. A topic that cannot be read gives no
    versions here, and an error there.

    Raises StoppedEarly on SIGTERM or SIGINT.
    """
    stop = StopRequest()
    stop.listen(asyncio.get_running_loop())
    await stop.unless_requested(wait_for_cluster(settings.kafka, clock=clock, backoff=retry_backoff(settings)))
    store = RolloutStore(settings, clock=clock)
    try:
        await stop.unless_requested(store.start())
        current = [store.log.current(name) for name in store.log.models()]
        return {revision.model: revision.stable for revision in current if revision is not None}
    except ForebayError as error:
        log.warning("cannot read the topic of rollouts, so the configured versions are loaded first: %s", error.message)
        return {}
    finally:
        await store.stop()


def load_models(
    served: Sequence[ServedModelSettings],
    versions: Mapping[str, int],
    load: Callable[[ServedModelSettings], Model],
) -> list[Model]:
    """Return the models to start with: the versions given by name, else the configured ones.

    A version that cannot be loaded is replaced by the configured one: the worker then decides what becomes of the revision.

    Raises ModelError if the configured version cannot be loaded.
    """
    return [_load(settings, versions.get(settings.model.name), load) for settings in served]


def _load(settings: ServedModelSettings, version: int | None, load: Callable[[ServedModelSettings], Model]) -> Model:
    configured = settings.model.version
    if version is None or version == configured:
        return load(settings)
    try:
        return load(replace(settings, model=settings.model.model_copy(update={"version": version})))
    except ForebayError as error:
        log.error(
            "version %d of %s, which the current revision makes stable, cannot be loaded at the start: %s; loading %s",
            *(version, settings.model.name, error.message, _text(configured)),
        )
        return load(settings)


def _text(configured: int | None) -> str:
    return "the highest version" if configured is None else f"version {configured} as configured"
