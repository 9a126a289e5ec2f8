"""Load versions of models while the worker serves others: on a thread of low priority, with every check of a start."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from forebay.models.artefacts.artefact import StoredVersion, read_version
from forebay.models.backends.protocol import Model
from forebay.models.serving.load_budget import Meter
from forebay.models.serving.served_model import ServedModel
from forebay.models.serving.warm_up import warm_up_sizes
from forebay.schemas.errors import ForebayError, ModelError
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.retry import Deadline, Sleep, retry, warn_sparsely
from forebay.stream.core.thread_priority import lower_priority
from forebay.stream.inference.loading import ModelLoader

log = logging.getLogger("forebay.rollouts")

T = TypeVar("T")

RETRY_S: Final = 60.0
"""How long a repository may be unreachable before a load fails."""
LOAD_S: Final = 900.0
"""How long an attempt may take. A store that never answers must not block the loads of other versions."""
MEMORY_FACTOR: Final = 2.0
"""How much memory a load takes at least, in sizes of the version's files: they are read into memory, and the model is built
from them. Each further instance takes one more size."""
_MIB: Final = 1 << 20
_TEMPORARY: Final = frozenset({"unreadable", "repository_not_found", "version_not_found", "storage"})
"""Kinds of errors of a repository that is unreachable, or to which a version is still being copied."""


@dataclass(frozen=True, slots=True)
class LoadTools:
    """What a `VersionLoader` works with.

    meter: measures the memory of this process.
    available_bytes: returns how much more memory this process can take.
    """

    loader: ModelLoader
    meter: Meter
    available_bytes: Callable[[], int]
    clock: Clock
    backoff: Backoff = field(default_factory=lambda: Backoff(1.0, 10.0))
    sleep: Sleep = asyncio.sleep


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version in memory. digest: the SHA-256 of its manifest."""

    model: Model
    digest: str


class VersionLoader:
    """Loads versions of models, one at a time. Rollouts and shadows share it.

    A version that is still missing does not hold up the others.
    """

    def __init__(self, tools: LoadTools, *, retry_s: float = RETRY_S, timeout_s: float = LOAD_S) -> None:
        self._tools = tools
        self._retry_s = retry_s
        self._timeout_s = timeout_s
        self._one_at_a_time = asyncio.Lock()
        self._last_growth: dict[str, int] = {}
        self._waiting: set[ModelRef] = set()

    async def load(self, settings: ServedModelSettings, version: int, *, digest: str | None) -> LoadedVersion:
        """Return a version that has passed the load gate and run batches of all sizes; other threads keep running.

        settings: those of the model. Their version is not used.
        digest: the SHA-256 that the manifest must have; None accepts any.

        Raises ModelError or another ForebayError that says why the version cannot serve.
        """
        ref = ModelRef(settings.model.name, version)
        log.info("loading %s", ref)
        began_s = self._tools.clock.monotonic_s()
        stored = await self._read_manifest(settings, ref)
        _check_manifest(stored, digest)

        async def load() -> ServedModel:
            async with self._one_at_a_time:
                return await self._attempt(lambda: self._load(stored, settings), ref)

        model = await self._retry(load, ref)
        log.info("loaded %s in %.1f s", ref, self._tools.clock.monotonic_s() - began_s)
        return LoadedVersion(model, stored.manifest_sha256)

    def is_waiting(self, ref: ModelRef) -> bool:
        """Return whether a load of this version has failed for now and will be tried again."""
        return ref in self._waiting

    async def digest(self, settings: ServedModelSettings, version: int) -> str:
        """Return the SHA-256 of the manifest of a version, without loading it. Raises like `load`."""
        return (await self._read_manifest(settings, ModelRef(settings.model.name, version))).manifest_sha256

    async def _read_manifest(self, settings: ServedModelSettings, ref: ModelRef) -> StoredVersion:
        repository = settings.model.repository
        return await self._retry(
            lambda: self._attempt(lambda: read_version(repository, ref.name, ref.version), ref), ref
        )

    async def _attempt(self, work: Callable[[], T], ref: ModelRef) -> T:
        """Return the result of work on a thread. Raises ModelError if it takes too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await on_low_priority_thread(work)
        except TimeoutError:
            raise ModelError(
                f"{ref} was not loaded within {self._timeout_s:g} s",
                kind="load_timeout",
                remedy="find out why its repository or its warm-up is so slow, or publish a smaller model",
            ) from None

    async def _retry(self, call: Callable[[], Awaitable[T]], ref: ModelRef) -> T:
        """Return the result of a call. Temporary errors of the repository are retried for a while."""

        async def sleep(seconds: float) -> None:
            self._waiting.add(ref)
            try:
                await self._tools.sleep(seconds)
            finally:
                self._waiting.discard(ref)

        return await retry(
            call,
            should_retry=lambda error, _failures: isinstance(error, ForebayError) and error.kind in _TEMPORARY,
            wait_s=self._tools.backoff.wait_s,
            on_retry=warn_sparsely(log, f"cannot load {ref} yet, trying again: %s"),
            deadline=Deadline(self._tools.clock, self._retry_s),
            sleep=sleep,
        )

    # ---- on the thread

    def _load(self, stored: StoredVersion, settings: ServedModelSettings) -> ServedModel:
        name, num_bytes = stored.manifest.name, _size(stored)
        self._check_memory(stored, num_bytes, settings.model.instances)
        before = self._tools.meter.resident_bytes()
        model = self._tools.loader.load_version(stored, _with_version(settings, stored.manifest.version))
        if not settings.model.has_budget:  # a budget is measured with the same batches
            for instance in model.instances:
                _warm_up(instance, settings.batch.max_batch_size)
        self._last_growth[name] = self._tools.meter.resident_bytes() - before
        return model

    def _check_memory(self, stored: StoredVersion, num_bytes: int, num_instances: int) -> None:
        manifest, available = stored.manifest, self._tools.available_bytes()
        measured = self._last_growth.get(manifest.name, 0)
        needed = max(round(num_bytes * (MEMORY_FACTOR + num_instances - 1)), measured)
        if needed > available:
            source = (
                "as at the last load of the model" if needed == measured else "estimated from the size of its files"
            )
            raise ModelError(
                f"model {manifest.name} version {manifest.version}: it needs about {_mib(needed)} MiB ({source}), and this "
                f"process can take only {_mib(available)} MiB beside the versions that it serves",
                kind="memory",
                remedy="give the worker more memory, publish a smaller model, or lower rollouts.keep_previous_s so that "
                "earlier versions leave sooner",
            )


def _check_manifest(stored: StoredVersion, digest: str | None) -> None:
    require_digest(stored.place, stored.manifest_sha256, digest)
    if stored.manifest.signature.window is not None:
        raise ModelError(
            f"{stored.place}: it takes windows over event time, and rollouts do not support such models",
            kind="windows",
            remedy="set model.version in the configuration and restart the workers instead",
        )


def require_digest(place: str, found: str, expected: str | None) -> None:
    """Raise ModelError if a manifest has another SHA-256 than the revision names.

    place: the version, for the message.
    expected: None if the revision names none.
    """
    if expected not in (None, found):
        raise ModelError(
            f"{place}: the manifest has the SHA-256 {found}, but the revision names {expected}",
            kind="digest",
            remedy="the version was changed after it was rolled out: versions are immutable. Publish the change as a new "
            "version, and check that all workers read the same repository",
        )


def _with_version(settings: ServedModelSettings, version: int) -> ServedModelSettings:
    return replace(settings, model=settings.model.model_copy(update={"version": version}))


def _size(stored: StoredVersion) -> int:
    return sum(entry.num_bytes for entry in stored.manifest.files.values())


def _warm_up(model: Model, max_batch_size: int) -> None:
    try:
        model.warm_up(warm_up_sizes(max_batch_size))
    except ForebayError:
        raise
    except Exception as error:
        raise ModelError(
            f"model {model.name} version {model.version}: it cannot run micro-batches: {type(error).__name__}: {error}"[
                :500
            ],
            kind="warm_up",
            remedy="correct the model and publish it again, or serve it with the libraries that it was published with",
        ) from error


def _mib(num_bytes: int) -> str:
    return f"{max(0, num_bytes) / _MIB:,.0f}"


async def on_low_priority_thread(work: Callable[[], T]) -> T:
    """Return the result of work on a new thread of low priority.

    It is a daemon thread: a store that does not answer must not keep the process alive.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        lower_priority()
        try:
            result = work()
        except BaseException as error:
            _post(loop, _fail, future, error)
        else:
            _post(loop, _succeed, future, result)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await future


def _post(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    with suppress(RuntimeError):  # the event loop is closed: the worker has ended
        loop.call_soon_threadsafe(function, *arguments)


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
