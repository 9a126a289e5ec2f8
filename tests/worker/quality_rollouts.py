"""A worker, an evaluator and an aggregator that judges canaries by the labels of the events.

Labels are 0 or 1 with equal probabilities. A version that is sure of class 1 therefore has a much larger log loss than the
stable one, and one with the same net has the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import torch

from forebay.models.backends.torch.architectures import Net
from forebay.stream.rollouts.changes import Proposal, start_canary
from forebay.stream.rollouts.quality_checks import SWITCH_MS
from forebay.stream.rollouts.revision import Revision, StepPolicy
from tests.aggregate.harness import AggregatorProcess, ForebayProcess
from tests.brokers.clients import producer
from tests.eventually import eventually
from tests.models.build import make_net, publish
from tests.worker.rollout_workers import NAME, PARTITIONS, RolloutGroup, rollout_group

EVENTS_PER_S: Final = 600
AHEAD_MS: Final = SWITCH_MS
"""Event times are this much ahead: windows of quality count if they begin that long after the revision."""
LABELS_AFTER_S: Final = 0.2
WORSE, EQUAL = 2, 3
Change = Callable[[Revision, Proposal], Revision]
SECTIONS: Final[dict[str, Any]] = {
    "evaluate": {"enabled": True, "window_s": 1, "horizon_s": 60, "commit_interval_ms": 200},
    "rollouts": {
        "enabled": True,
        "judge_window_s": 1,
        "judge_windows": 1,
        "quality_metric": "log_loss",
        "min_effect": 0.5,
        "max_latency_ratio": 1_000,
        "shadow_max_share": 1.0,
    },
}


def sure_net() -> Net:
    """Return the net of the stable version, with a large probability of class 1."""
    net = make_net()
    with torch.no_grad():
        list(net.parameters())[-1][1] += 4.0
    return net


class Feed:
    """Publishes events, and their labels a little later."""

    def __init__(self, group: RolloutGroup) -> None:
        self._group = group
        self._rng = random.Random(5)
        self._sent = 0

    async def run(self) -> None:
        """Publish until cancelled."""
        began_s, number = time.monotonic(), 0
        waiting: list[list[tuple[bytes, int, int]]] = []
        async with producer(self._group.bootstrap, linger_ms=5) as client:
            while True:
                events = self._next_events()
                for key, partition, at_ms in events:
                    features = [self._rng.random(), 2.0, 3.0]
                    value = orjson.dumps({"id": key.decode(), "timestamp": at_ms, "features": features})
                    await client.send(f"{self._group.prefix}-features", value, key, partition=partition)
                waiting.append(events)
                for key, partition, at_ms in waiting.pop(0) if len(waiting) > LABELS_AFTER_S * 20 else ():
                    label = {"id": key.decode(), "timestamp": at_ms, "label": self._rng.randrange(2)}
                    await client.send(f"{self._group.prefix}-labels", orjson.dumps(label), key, partition=partition)
                number += 1
                await asyncio.sleep(max(0.0, began_s + number / 20 - time.monotonic()))

    def _next_events(self) -> list[tuple[bytes, int, int]]:
        """Return the key, the partition and the time of some events, each of a key of its own."""
        at_ms, first = round(time.time() * 1000) + AHEAD_MS, self._sent
        self._sent += EVENTS_PER_S // 20
        return [(b"key-%d" % number, number % PARTITIONS, at_ms) for number in range(first, self._sent)]


class QualityGroup:
    """The processes, and what is proposed to them. group: with one worker."""

    def __init__(self, group: RolloutGroup, config: Path, processes: list[ForebayProcess]) -> None:
        self.group = group
        self.config = config
        self._processes = processes
        self._feed = Feed(group)

    @property
    def log(self) -> str:
        return "\n".join(process.log[-4000:] for process in self._processes)

    @asynccontextmanager
    async def proposed(self, change: Change, version: int) -> AsyncIterator[None]:
        """Propose a revision, and publish events once the worker serves it, until the end."""
        revision = await self.group.propose(change, version)
        (worker,) = self.group.workers
        await worker.applied(revision.number)
        feeding = asyncio.create_task(self._feed.run())
        try:
            yield
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])
            await self.group.settled()

    async def canary(self, version: int) -> Revision:
        """Start a canary of half of the keys; return the revision that ends it."""
        steps = StepPolicy((50,), every_s=0.0, min_events=100)

        def change(current: Revision, proposal: Proposal) -> Revision:
            return start_canary(current, version, 50, steps=steps, seed=version, route_by=None, proposal=proposal)

        async def current() -> Revision:
            await self.group.store.refresh()
            return self.group.current

        async with self.proposed(change, version):
            return await eventually(
                current,
                f"the end of the canary {version}",
                until=lambda revision: not revision.canaries,
                timeout_s=60,
                context=lambda: self.log,
            )

    async def experiment(self, *arguments: str) -> dict[str, Any]:
        """Return what `forebay models experiment --json` prints."""
        log = self.config.parent / "experiment.json"
        process = ForebayProcess(self.config, log, "models", "experiment", NAME, "--json", *arguments)
        assert await asyncio.to_thread(process.process.wait, 30) == 0, process.log
        found: dict[str, Any] = json.loads(process.log)
        return found


@asynccontextmanager
async def quality_group(bootstrap: str, prefix: str, folder: Path) -> AsyncIterator[QualityGroup]:
    """Start everything, with the versions 1 (stable), WORSE and EQUAL. Everything is stopped at the end."""
    async with rollout_group(bootstrap, prefix, folder, **SECTIONS) as group:
        publish(group.repository, NAME, net=sure_net())
        publish(group.repository, NAME)
        config = folder / "forebay.toml"
        sections: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": bootstrap, "group_id": prefix},
            "topics": {"prefix": f"{prefix}-"},
            "model": {"name": NAME, "repository": str(group.repository)},
            "admin": {"enabled": False},
            "log": {"format": "text"},
            **SECTIONS,
        }
        lines = []
        for name, values in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        config.write_text("\n".join(lines) + "\n")
        aggregator = AggregatorProcess(config, folder / "aggregator.log")
        evaluator = ForebayProcess(config, folder / "evaluator.log", "evaluate")
        try:
            worker = await group.start("w1")
            await worker.ready()
            await evaluator.says("evaluator ready")
            await aggregator.says("aggregator ready")
            yield QualityGroup(group, config, [aggregator, evaluator])
        finally:
            evaluator.kill()
            aggregator.kill()
