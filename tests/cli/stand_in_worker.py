"""A stand-in for a worker in the rollout's commands: a member of the group, with a `/status` that follows the revisions.

It runs in a thread, because the commands run their own event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.kafka.consumer.assignor import AdvertisingAssignor
from forebay.stream.rollouts.revision import Revision, initial_revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.rollout_status import RolloutStatus


class StandInWorker:
    """A worker that serves one model and applies every revision at once.

    frozen: the number of the newest revision that it applies; None for all.
    error: what it reports for revisions that it does not apply.
    """

    def __init__(self, bootstrap: str, prefix: str, ref: ModelRef, *, name: str = "w1") -> None:
        self.name = name
        self.frozen: int | None = None
        self.error: str | None = None
        self._bootstrap, self._prefix, self._ref = bootstrap, prefix, ref
        self._log = RevisionLog()

    def know(self, revision: Revision) -> None:
        """Start with a revision that is not on the topic."""
        self._log.add(*revision.encode(), offset=0, timestamp_ms=0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be a live member of the group while the context is open."""
        loop = asyncio.new_event_loop()
        ready: asyncio.Event = asyncio.Event()
        ending = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.run_until_complete(self._run(ready, ending)), daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(ready.wait(), loop).result(30)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(ending.set)
            thread.join(30)
            loop.close()

    async def _run(self, ready: asyncio.Event, ending: asyncio.Event) -> None:
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        metadata = WorkerMetadata(worker=self.name, url=url, models=(self._ref,), release="1").encode()
        assignor: Any = AdvertisingAssignor(lambda: metadata, lambda members: None)
        member = AIOKafkaConsumer(
            f"{self._prefix}features",
            bootstrap_servers=self._bootstrap,
            group_id=f"{self._prefix}workers",
            partition_assignment_strategy=[assignor],
            heartbeat_interval_ms=100,
        )
        follower = AIOKafkaConsumer(
            f"{self._prefix}rollouts", bootstrap_servers=self._bootstrap, auto_offset_reset="earliest"
        )
        await follower.start()
        await member.start()
        ready.set()
        try:
            while not ending.is_set():
                for records in (await follower.getmany(timeout_ms=50)).values():
                    for record in records:
                        self._log.add(record.key, record.value, offset=record.offset, timestamp_ms=record.timestamp)
                await member.getmany(timeout_ms=1)
        finally:
            await member.stop()
            await follower.stop()
            await runner.cleanup()

    def _applied(self) -> Revision:
        number = self._log.number(self._ref.name)
        if self.frozen is not None:
            number = min(number, self.frozen)
        found = self._log.revision(self._ref.name, number) if number else None
        return found or initial_revision(*self._ref)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        applied, accepted = self._applied(), self._log.number(self._ref.name)
        error = self.error if applied.number < accepted else None
        status = RolloutStatus(
            applied, accepted, since_ms=applied.created_ms, error=error, resident=tuple(sorted(applied.versions()))
        )
        document = {"worker": self.name, "health": {"live": True, "ready": True}, "rollouts": [status.to_dict()]}
        return web.Response(body=orjson.dumps(document))
