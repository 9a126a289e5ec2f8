"""What is done to workers and brokers in a proof, and when: a plan drawn from a seed."""

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
"""An outage of a broker, and its return."""

WEIGHTS: Final = {"kill": 5, "short freeze": 2, "long freeze": 3, "dismiss": 2, "join": 1, "plant": 4}
MAX_OVER_SIZE: Final = 2
IN_FLOW: Final = 0.8
PATIENCE_S: Final = 12.0


class Step(NamedTuple):
    """after_s: since the step before; seconds: how long it lasts, where it lasts.

    in_flow: not before events flow again, or PATIENCE_S are over. What is done while the group stands still hits nobody.
    """

    after_s: float
    action: str
    seconds: float
    in_flow: bool


def draw(rng: random.Random, *, count: int, gap_s: tuple[float, float]) -> list[Step]:
    """So many steps, between any two at least `gap_s` (from, to)."""
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
    """Take the steps one after the other, and tend the crew, until the feed is through; then every broker is back.

    outages: (seconds after the start, what). flows: whether events flow.
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
            # Another one joins; beyond a size one leaves for it.
            if crew.over_size >= MAX_OVER_SIZE:
                crew.dismiss(failpoint=step.action == "plant" or None)
            else:
                crew.hire(failpoint=step.action == "plant" or None)


async def outage_of(server: RealKafka, *, seconds: float, clean: bool) -> None:
    """The only broker stops or is killed, and comes back with its data."""
    await asyncio.to_thread(server.stop if clean else server.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.restart)


async def outage_of_coordinator(
    cluster: ApacheKafka, kind: CoordinationType, key: Callable[[], str], *, seconds: float
) -> None:
    """The broker is killed that coordinates `key`: a group, or a transactional id. The others go on."""
    async with raw_client(cluster.bootstrap) as client:
        node = await client.coordinator_lookup(kind, key())
    await asyncio.to_thread(cluster.kill, node - 1)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(cluster.restart, node - 1)
