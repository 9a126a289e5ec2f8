"""The plan of a proof, drawn from a seed: what is done to workers and brokers, and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.client import CoordinationType

from tests.brokers.apache import ApacheKafka
from tests.brokers.resolve import RealKafka
from tests.exactness.crew import LONG_S, SHORT_S, Crew
from tests.exactness.log_scan import raw_client

Outage = Coroutine[Any, Any, None]
"""A broker goes down and comes back."""

WEIGHTS: Final = {"kill": 5, "short freeze": 2, "long freeze": 3, "dismiss": 2, "join": 1, "plant": 4}
MAX_OVER_SIZE: Final = 2
IN_FLOW: Final = 0.8
PATIENCE_S: Final = 12.0


class Step(NamedTuple):
    """One step of the plan.

    after_s: the time since the previous step.
    seconds: the duration, for a step that has one.
    in_flow: wait until events flow again, for at most PATIENCE_S. A step taken while the group is stalled has no effect.
    """

    after_s: float
    action: str
    seconds: float
    in_flow: bool


def draw(rng: random.Random, *, count: int, gap_s: tuple[float, float]) -> list[Step]:
    """Draw `count` steps. The time between two of them is drawn from the range `gap_s`."""
    steps = []
    for _ in range(count):
        (action,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        lasts = rng.uniform(*(LONG_S if action == "long freeze" else SHORT_S))
        steps.append(Step(rng.uniform(*gap_s), action, lasts, rng.random() < IN_FLOW))
    return steps


async def rage(
    crew: Crew,
    steps: Sequence[Step],
    outages: Sequence[tuple[float, Outage]],
    *,
    flows: Callable[[], bool],
    feeding: asyncio.Task[None],
) -> None:
    """Take the steps in order and tend the crew until the feed has ended. On return, every broker is running again.

    outages: (seconds after the start, outage). flows: returns whether events flow.
    """
    start_s = last_s = time.monotonic()
    coming, breaks = list(steps), list(outages)
    async with asyncio.TaskGroup() as group:
        while not feeding.done():
            now_s = time.monotonic()
            if breaks and now_s - start_s >= breaks[0][0]:
                group.create_task(breaks.pop(0)[1])
                crew.tally["broker_restarts"] += 1
            waited_s = now_s - last_s
            calm = flows() or waited_s >= PATIENCE_S
            if coming and waited_s >= coming[0].after_s and (calm or not coming[0].in_flow):
                await _take(coming.pop(0), crew)
                crew.tally["steps"] += 1
                last_s = now_s
            crew.tend()
            await asyncio.sleep(0.1)
    feeding.result()


async def _take(step: Step, crew: Crew) -> None:
    match step.action:
        case "kill":
            await crew.kill()
        case "short freeze" | "long freeze":
            await crew.freeze(step.seconds)
        case "dismiss":
            crew.dismiss()
        case "join" | "plant":
            # A worker joins. If there are too many already, it replaces one that leaves.
            if crew.over_size >= MAX_OVER_SIZE:
                crew.dismiss(failpoint=step.action == "plant" or None)
            else:
                crew.hire(failpoint=step.action == "plant" or None)


async def outage_of(server: RealKafka, *, seconds: float, clean: bool) -> None:
    """Stop or kill the only broker, and restart it with its data after `seconds`."""
    await asyncio.to_thread(server.stop if clean else server.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.restart)


async def outage_of_coordinator(
    cluster: ApacheKafka, kind: CoordinationType, key: Callable[[], str], *, seconds: float
) -> None:
    """Kill the coordinator of `key` (a group or a transactional id) and restart it. The other brokers keep running."""
    async with raw_client(cluster.bootstrap) as client:
        node = await client.coordinator_lookup(kind, key())
    await asyncio.to_thread(cluster.kill, node - 1)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(cluster.restart, node - 1)
