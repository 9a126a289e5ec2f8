"""Prove that the judge ends bad versions and promotes good ones: `python -m tests.worker.judged_rollouts`.

A real worker, a real aggregator and a stream of events on the embedded broker. No person acts after a rollout has started.
The versions are the same small net, changed when they are loaded: one takes twice as long, one gives NaN on 1 % of the rows,
one raises on 3 %, and one is as good as the stable version.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.protocol import Scores
from forebay.models.serving.served_model import ServedModel
from forebay.stream.embedded.broker import EmbeddedBroker
from forebay.stream.inference.loading import ModelLoader
from forebay.stream.rollouts.changes import Proposal, start_canary
from forebay.stream.rollouts.judge import AUTHOR
from forebay.stream.rollouts.revision import Action, Revision, StepPolicy
from tests.aggregate.harness import AggregatorProcess
from tests.brokers.clients import producer
from tests.eventually import eventually
from tests.worker.rollout_workers import NAME, PARTITIONS, RolloutGroup, rollout_group

CALL_S: Final = 0.02
EVENTS_PER_S: Final = 1000
WINDOW_S: Final = 2
WINDOWS: Final = 3
REACTION_S: Final = WINDOW_S + 2.5
"""Beside the judge windows: the window in which the version is loaded, and the way of its last events to the judge."""

SLOW, NOT_FINITE, RAISING, GOOD = 2, 3, 4, 5


@dataclass(frozen=True)
class Fault:
    """How a version differs. The shares are those of the rows."""

    call_s: float = CALL_S
    nan_share: float = 0.0
    raising_share: float = 0.0


FAULTS: Final[Mapping[int, Fault]] = {
    SLOW: Fault(call_s=2 * CALL_S),
    NOT_FINITE: Fault(nan_share=0.01),
    RAISING: Fault(raising_share=0.03),
}


class FaultyModel:
    """A version with a fault. The first feature, uniform from 0 to 1, chooses the rows."""

    def __init__(self, model: ServedModel, fault: Fault) -> None:
        self._model = model
        self._fault = fault
        self._first_B: FloatArray = np.empty(0, dtype=np.float32)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def instances(self) -> tuple[FaultyModel, ...]:
        """The models that the worker calls: without this, `__getattr__` would return the one without the fault."""
        return (self,)

    def prepare(self, x_BF: FloatArray) -> FloatArray:
        self._first_B = x_BF[:, 0]
        return self._model.prepare(x_BF)

    def forward(self, x_BG: FloatArray) -> Scores:
        if (self._first_B > 1 - self._fault.raising_share).any():
            raise ValueError("this row is not possible")
        # Faster for a few rows, so that the search for the rows that fail does not make the version slow.
        time.sleep(self._fault.call_s * min(1.0, len(x_BG) / 16))
        scores = self._model.forward(x_BG)
        scores.values_BO[self._first_B > 1 - self._fault.nan_share] = np.nan
        return scores


@contextmanager
def faulty_versions() -> Iterator[None]:
    """Give each version its fault as it is loaded."""
    original = ModelLoader.load_version

    def load_version(self: ModelLoader, *arguments: Any, **options: Any) -> Any:
        model = original(self, *arguments, **options)
        return FaultyModel(model, FAULTS.get(model.version, Fault()))

    ModelLoader.load_version = load_version  # type: ignore[method-assign]
    try:
        yield
    finally:
        ModelLoader.load_version = original  # type: ignore[method-assign]


class JudgedGroup:
    """One worker, one aggregator and a stream of events."""

    def __init__(self, group: RolloutGroup, aggregator: AggregatorProcess) -> None:
        self.group = group
        self.aggregator = aggregator

    async def roll_out(self, version: int, weights: tuple[float, ...]) -> None:
        """Start a canary with steps that need as little time as the judge does."""
        steps = StepPolicy(weights, every_s=0.0, min_events=100)

        def change(current: Revision, proposal: Proposal) -> Revision:
            return start_canary(
                current, version, weights[0], steps=steps, seed=version, route_by=None, proposal=proposal
            )

        await self.group.propose(change, version)

    async def ended(self, version: int, timeout_s: float) -> Revision:
        """Wait until a version is no longer a canary. Return the revision that ended it."""

        async def current() -> Revision:
            await self.group.store.refresh()
            return self.group.current

        return await eventually(
            current,
            f"the end of the canary {version}",
            until=lambda revision: not revision.canaries,
            timeout_s=timeout_s,
            context=lambda: self.aggregator.log[-4000:],
        )


async def _feed(group: RolloutGroup) -> None:
    """Publish events until cancelled."""
    rng, count = np.random.default_rng(3), EVENTS_PER_S // 20
    async with producer(group.bootstrap, linger_ms=5) as client:
        started_s, sent = time.monotonic(), 0
        while True:
            for first in rng.random(count).tolist():
                value = orjson.dumps({"id": str(sent), "timestamp": 1_372_636_800_000, "features": [first, 2.0, 3.0]})
                await client.send(f"{group.prefix}-features", value, b"key-%d" % sent, partition=sent % PARTITIONS)
                sent += 1
            await asyncio.sleep(max(0.0, started_s + sent / EVENTS_PER_S - time.monotonic()))


@asynccontextmanager
async def judged_group(bootstrap: str, prefix: str, folder: Path) -> AsyncIterator[JudgedGroup]:
    """Start the worker, the aggregator and the events. Everything is stopped at the end."""
    rollouts = {"enabled": True, "judge_window_s": WINDOW_S, "judge_windows": WINDOWS}
    with faulty_versions():
        async with rollout_group(bootstrap, prefix, folder) as group:
            for version in (SLOW, NOT_FINITE, RAISING, GOOD):
                group.publish_version(version)
            config = folder / "aggregator.toml"
            config.write_text(
                f'[kafka]\nbootstrap_servers = "{bootstrap}"\ngroup_id = "{prefix}"\n[topics]\nprefix = "{prefix}-"\n'
                '[admin]\nenabled = false\n[log]\nformat = "text"\n[rollouts]\n'
                + "".join(f"{name} = {json.dumps(value)}\n" for name, value in rollouts.items())
            )
            aggregator = AggregatorProcess(config, folder / "aggregator.log")
            feeding: asyncio.Task[None] | None = None
            try:
                await aggregator.says("aggregator ready")
                worker = await group.start("w1", rollouts=rollouts, batch={"max_batch_size": 64})
                await worker.ready()
                feeding = asyncio.create_task(_feed(group))
                yield JudgedGroup(group, aggregator)
            finally:
                if feeding is not None:
                    feeding.cancel()
                    await asyncio.wait([feeding])
                aggregator.kill()


async def prove_ended(judged: JudgedGroup, version: int, *, at_most_s: float = WINDOWS * WINDOW_S + REACTION_S) -> str:
    """Prove that a bad version is ended, by default within three judge windows. Return a line for the report."""
    began_s = time.monotonic()
    await judged.roll_out(version, (50, 100))
    revision = await judged.ended(version, 60)
    took_s = time.monotonic() - began_s
    assert (revision.action, revision.automatic) == (Action.ABORT, True), revision
    assert revision.stable == 1 and version in revision.rejected
    assert took_s <= at_most_s, f"{took_s:.1f} s: {revision.reason}\n{judged.aggregator.log}"
    return f"version {version}: rolled back after {took_s:.1f} s by {revision.author}: {revision.reason}"


async def prove_promoted(judged: JudgedGroup, version: int, weights: tuple[float, ...] = (5, 25, 50, 100)) -> str:
    """Prove that a good version is promoted through all steps. Return a line for the report."""
    began_s, first = time.monotonic(), judged.group.current.number + 1
    await judged.roll_out(version, weights)
    revision = await judged.ended(version, len(weights) * WINDOWS * WINDOW_S * 3)
    took_s = time.monotonic() - began_s
    assert (revision.action, revision.stable, revision.author) == (Action.PROMOTE, version, AUTHOR), revision
    log = judged.group.store.log
    steps = [log.revision(NAME, number) for number in range(first, revision.number)]
    found = tuple(step.canaries[0].weight for step in steps if step is not None)
    assert found == weights, found
    return (
        f"version {version}: promoted after {took_s:.1f} s through {', '.join(f'{weight:g}' for weight in weights)} %"
    )


async def prove() -> None:
    """Run all proofs and print a report."""
    broker = EmbeddedBroker()
    await broker.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with judged_group(broker.bootstrap_servers, f"j{uuid.uuid4().hex[:8]}", Path(folder)) as judged:
                for step in (
                    *(partial(prove_ended, judged, version) for version in (SLOW, NOT_FINITE, RAISING)),
                    partial(prove_promoted, judged, GOOD),
                ):
                    sys.stdout.write(f"{await step()}\n")
                    sys.stdout.flush()
    finally:
        await broker.stop()


if __name__ == "__main__":
    asyncio.run(prove())
