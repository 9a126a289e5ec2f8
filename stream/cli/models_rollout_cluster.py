"""The cluster as the rollout's commands use it: the log of revisions, and the live workers with their status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

from forebay.models.artefacts.repository import resolve_version
from forebay.schemas.errors import BrokerError, ConfigError, ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.admin.group_status import admin_urls, build_group_status
from forebay.stream.admin.status_client import fetch_statuses
from forebay.stream.aggregate.verdict_reader import VerdictReader
from forebay.stream.cli.models_rollout_target import find_served_model
from forebay.stream.cli.models_rollout_wait import Progress, wait_progress
from forebay.stream.cli.models_rollout_workers import RolloutWorker, announced_version, rollout_workers
from forebay.stream.config.aggregator_group import aggregator_group
from forebay.stream.control.rollout_store import RolloutConflict, RolloutStore
from forebay.stream.control.switch_reader import read_switches
from forebay.stream.core.cancellation import raise_if_cancelled
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.group_inspector import GroupInspector
from forebay.stream.rollouts.judge import Verdict
from forebay.stream.rollouts.revision import Revision, initial_revision
from forebay.stream.rollouts.revision_log import Entry, RevisionLog
from forebay.stream.rollouts.switch_log import SwitchLog

if TYPE_CHECKING:
    from types import TracebackType

    from forebay.stream.config.sections import Settings

CLUSTER_TIMEOUT_S: Final = 15.0
INTERVAL_S: Final = 0.5


class RolloutCluster:
    """Reads and writes the rollout of one model.

    token_over_http: send admin.token without TLS to other machines too.

    async with RolloutCluster(settings, "fraud", token_over_http=False) as cluster: ...
    """

    def __init__(self, settings: Settings, model: str, *, token_over_http: bool) -> None:
        self._settings = settings
        self._model = model
        self._token_over_http = token_over_http
        self._options = client_options(settings.kafka)
        self._clock = SystemClock()
        self._inspector = self._inspect(settings.kafka.group_id)
        self._store = RolloutStore(settings, clock=self._clock)
        self._verdict_reader = VerdictReader(settings, self._store.log, clock=self._clock)
        self._stack = AsyncExitStack()
        self.aggregator_group = aggregator_group(settings)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._inspector)
            stack.push_async_callback(self._store.stop)
            await self._store.start()
            stack.push_async_callback(self._verdict_reader.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def log(self) -> RevisionLog:
        return self._store.log

    def history(self) -> list[Entry]:
        """Return all revisions of the model, in log order."""
        return self.log.history(self._model)

    def current(self, workers: tuple[RolloutWorker, ...]) -> Revision:
        """Return the current revision; revision 0 if there is not one yet.

        Revision 0 has the version that the workers announce if they agree, since the highest one may have been published
        after they started.
        """
        current = self.log.current(self._model)
        if current is not None:
            return current
        version = announced_version(workers)
        return initial_revision(
            self._model, configured_version(self._settings, self._model) if version is None else version
        )

    async def require_same_topic(self, workers: tuple[RolloutWorker, ...]) -> None:
        """Raise ConfigError if a worker knows later revisions than the topic has: it follows another topic than this one."""
        await self.refresh()
        number = self.log.number(self._model)
        for worker in workers:
            if worker.state is not None and worker.state.accepted > number:
                raise ConfigError(
                    f"worker {worker.name} knows revision {worker.state.accepted} of {self._model}, and the topic of rollouts "
                    f"ends at revision {number}: the topic was deleted and created again, or the worker follows another one",
                    kind="rollouts_recreated",
                    remedy="use the workers' configuration; if the topic was lost, stop the group and set its offsets to where "
                    "they are (kafka-consumer-groups --reset-offsets --to-current --all-topics --execute), then start it again",
                )

    async def refresh(self) -> None:
        """Read new revisions. Raises BrokerError."""
        await self._store.refresh()

    async def propose(self, revision: Revision) -> None:
        """Write a revision. Raises ForebayError that names the winner if another one came first."""
        try:
            await self._store.propose(revision)
        except RolloutConflict as conflict:
            if not conflict.winner.reason:
                raise
            message = f"{conflict.message}; its reason: {conflict.winner.reason}"
            raise ForebayError(message, kind=conflict.kind, remedy=conflict.remedy) from conflict

    async def workers(self) -> tuple[RolloutWorker, ...]:
        """Return the live workers that serve the model, with what they report. Raises BrokerError."""
        group = await self._inspector.inspect()
        urls = admin_urls(group)
        responses = await fetch_statuses(
            self._settings.admin, list(urls.values()), token_over_http=self._token_over_http
        )
        status = build_group_status(group, dict(zip(urls, responses, strict=True)))
        return rollout_workers(status, self._model)

    async def verdicts(self) -> list[Verdict] | str:
        """Return the verdicts on the model's canaries, or why they cannot be determined."""
        try:
            return await self._verdict_reader.verdicts(self._model)
        except BrokerError as error:
            return error.message
        except TimeoutError:
            return "there are too many outcome deltas to read here; the aggregator's admin API has it at /rollouts"

    async def has_aggregator(self) -> bool:
        """Return whether the aggregators' group has members. Raises BrokerError."""
        async with self._inspect(self.aggregator_group) as inspector:
            return bool((await inspector.inspect()).members)

    async def wait(
        self,
        revision: Revision,
        version: int | None,
        *,
        timeout_s: float,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Progress:
        """Wait until every live worker has applied a revision, or a later one takes it back. Raises BrokerError.

        version: the version that it brought into service.
        """
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            raise_if_cancelled()
            workers = await self.workers()
            await self.refresh()
            progress = wait_progress(revision, version, workers, self.current(workers))
            on_progress(progress)
            if progress.decided or self._clock.monotonic_s() >= deadline_s:
                return progress
            await asyncio.sleep(INTERVAL_S)

    def _inspect(self, group_id: str) -> GroupInspector:
        topics = [topic_name(self._settings.topics.prefix, name) for name in self._settings.input.topics]
        return GroupInspector(self._options, group_id, topics, timeout_s=CLUSTER_TIMEOUT_S)


async def read_revisions(settings: Settings) -> RevisionLog:
    """Return all revisions, read to the end of the topic. Raises BrokerError."""
    store = RolloutStore(settings, clock=SystemClock())
    try:
        await store.start()
    finally:
        await store.stop()
    return store.log


async def read_switch_log(settings: Settings) -> SwitchLog:
    """Return all switches. Raises BrokerError."""
    return await read_switches(settings, clock=SystemClock())


async def committed_offsets(settings: Settings) -> Mapping[TopicPartition, int | None]:
    """Return the committed offset of each partition of the input topics; None without one. Raises BrokerError."""
    topics = [topic_name(settings.topics.prefix, name) for name in settings.input.topics]
    inspector = GroupInspector(
        client_options(settings.kafka), settings.kafka.group_id, topics, timeout_s=CLUSTER_TIMEOUT_S
    )
    async with inspector:
        snapshot = await inspector.inspect()
    return {partition: snapshot.committed.get(partition) for partition in snapshot.ends}


def configured_version(settings: Settings, model: str) -> int:
    """Return the version of the configuration: the stated one, or else the highest. Raises ConfigError or ModelError."""
    served = find_served_model(settings, model).model
    return served.version or resolve_version(served.repository, model, None)
