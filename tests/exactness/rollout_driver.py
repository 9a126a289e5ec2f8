"""Changes rollouts while workers run: in cycles of canary, promotion and rollback, or at random."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import orjson
from aiokafka import AIOKafkaConsumer

from forebay.schemas.errors import BrokerError, ConfigError
from forebay.stream.config.sections import Settings
from forebay.stream.control.rollout_store import RolloutConflict, RolloutStore
from forebay.stream.core.clock import SystemClock
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.changes import Proposal
from forebay.stream.rollouts.revision import Revision, initial_revision
from tests.eventually import eventually
from tests.exactness.linear_versions import MODEL
from tests.exactness.rollout_checker import CONFIGURED
from tests.exactness.rollout_feed import CUSTOMER

APPLIED_TIMEOUT_S: Final = 120.0
BY_FIELD: Final = 0.3
"""The share of canaries that are routed by a field of the event."""
GROWN: Final = 0.3
"""The share of cycles whose canary grows before it is promoted."""
GAP_S: Final = (0.3, 2.0)
"""The time between two random changes."""

Change = Callable[[Revision, Proposal], Revision]


class RolloutDriver:
    """Proposes changes as a person does. Several drivers may compete.

    digests: those of the versions to choose from.
    tally: how often each action was proposed and won, and how often it came too late.
    applied_s: for each revision of a cycle, how long it took until all partitions had switched.
    """

    def __init__(self, settings: Settings, rng: random.Random, digests: Mapping[int, str], *, author: str) -> None:
        self._store = RolloutStore(settings, clock=SystemClock())
        self._settings = settings
        self._random = rng
        self._digests = digests
        self._author = author
        self._num_proposals = 0
        self.tally: Counter[str] = Counter()
        self.applied_s: list[float] = []

    async def __aenter__(self) -> Self:
        await self._store.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.stop()

    @property
    def current(self) -> Revision:
        return self._store.log.current(MODEL) or initial_revision(MODEL, CONFIGURED)

    def _proposal(self) -> Proposal:
        self._num_proposals += 1
        return Proposal(
            id=f"{self._author}-{self._num_proposals}",
            author=self._author,
            automatic=False,
            reason="proof",
            created_ms=SystemClock().wall_ms(),
            digests=self._digests,
        )

    async def change(self, change: Change) -> Revision:
        """Apply a change to the current revision. If another driver is faster, repeat it on top of that."""
        while True:
            await self._store.refresh()
            revision = change(self.current, self._proposal())
            try:
                await self._store.propose(revision)
            except RolloutConflict:
                self.tally["conflicts"] += 1
                continue
            self.tally[revision.action.value] += 1
            return revision

    def _canary(self, version: int, weight: float) -> Change:
        route_by = CUSTOMER if self._random.random() < BY_FIELD else None
        seed = self._random.randrange(1 << 32)

        def start(current: Revision, proposal: Proposal) -> Revision:
            return changes.start_canary(
                current,
                version,
                weight,
                steps=None,
                seed=seed,
                route_by=current.route_by if current.canaries else route_by,
                proposal=proposal,
            )

        return start

    def _other_version(self, current: Revision) -> int:
        return self._random.choice([version for version in self._digests if version != current.stable])

    # ---- cycles

    async def cycle(self, switched: Switched) -> None:
        """Canary, in some cycles a larger one, promotion, rollback; each once all partitions have switched before."""
        rng = self._random
        before = self.current
        version, weight = self._other_version(before), rng.uniform(5, 40)
        steps = [self._canary(version, weight)]
        if rng.random() < GROWN:
            steps.append(self._canary(version, weight + rng.uniform(5, 40)))
        steps.append(lambda current, proposal: changes.promote(current, version, proposal))
        steps.append(lambda current, proposal: changes.rollback(current, None, proposal))
        for change in steps:
            revision = await self.change(change)
            self.applied_s.append(await switched.to(revision.number))
        after = self.current
        assert (after.stable, after.canaries) == (before.stable, ()), "the rollback does not lead back"

    # ---- at random

    async def disturb(self) -> None:
        """Make random changes until cancelled."""
        while True:
            await asyncio.sleep(self._random.uniform(*GAP_S))
            with suppress(ConfigError, BrokerError):  # a change that is not possible now, and brokers that are stopped
                await self.change(self._random_change())

    def _random_change(self) -> Change:
        rng, version = self._random, self._other_version(self.current)
        weight, one = rng.uniform(1, 60), rng.random() < 0.5
        match rng.choice(["canary", "canary", "promote", "rollback", "abort", "shadow"]):
            case "canary":
                return self._canary(version, weight)
            case "promote":
                return lambda current, proposal: changes.promote(current, version, proposal)
            case "rollback":
                return lambda current, proposal: changes.rollback(current, None if one else version, proposal)
            case "shadow":
                return lambda current, proposal: changes.start_shadow(current, version, 0.1, proposal)
        return lambda current, proposal: changes.abort(current, proposal)


class Switched:
    """Follows the topic of switches."""

    def __init__(self, client: AIOKafkaConsumer, partitions: int) -> None:
        self._client = client
        self._revisions = dict.fromkeys(range(partitions), 0)

    async def to(self, number: int) -> float:
        """Wait until all partitions have switched to this revision, and return how long it took in seconds."""
        start_s = time.monotonic()

        async def lowest() -> dict[int, int]:
            for records in (await self._client.getmany(timeout_ms=100)).values():
                for record in records:
                    switch = orjson.loads(record.value)
                    self._revisions[switch["partition"]] = switch["revision"]
            return self._revisions

        await eventually(
            lowest,
            f"all partitions at revision {number} (seen: the last revision of each)",
            until=lambda revisions: min(revisions.values()) >= number,
            timeout_s=APPLIED_TIMEOUT_S,
        )
        return time.monotonic() - start_s
