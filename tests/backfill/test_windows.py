"""Back-fills of windows over event time: those that are open at the end, and what a kill leaves of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.backfill.test_backfill import Commands
from tests.brokers.resolve import Broker
from tests.eventtime.test_exact import SPEC, WINDOW
from tests.eventtime.windowed import check, expected_of_all, make_events
from tests.worker.harness import WorkerGroup

PARTITIONS = 4  # as many as the topic of outcome deltas has
OUTPUTS = ("predictions", "dead-letters", "outcome-deltas", "late-events")


class BackfilledGroup(WorkerGroup):
    """The topics of a back-fill, with the input of the live group."""

    def topic(self, name: str) -> str:
        return f"{self.prefix}-backfill-windows.{name}" if name in OUTPUTS else super().topic(name)


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices."""
    return embedded_broker


async def test_open_windows_are_stated_and_emitted_on_request(worker_group: WorkerGroup, tmp_path: Path) -> None:
    group = worker_group
    await group.create_for_windows(partitions=PARTITIONS)
    await group.send(*make_events(random.Random(7), 3_000, partitions=PARTITIONS, keys=20))
    table = "".join(
        f"{name} = {str(value).lower() if value is True else repr(value)}\n" for name, value in WINDOW.items()
    )
    commands = Commands(group, tmp_path, tmp_path, more=f"[window]\n{table}", model="echo")
    run = ("--windows", "backfill", "--run-id", "windows", "--json")
    slow = commands.start(*run, "--max-rate", "1000")
    await slow.kill_in_progress()
    first = commands.start(*run)
    assert await first.end() == 0, first.output
    backfilled = BackfilledGroup(group.bootstrap, group.prefix, tmp_path, partitions=PARTITIONS)
    _, _, expected = await expected_of_all(backfilled, SPEC)
    emitted = len(await backfilled.outputs("predictions"))
    complete = first.steps("complete")[0]
    assert complete["partitions_with_open_windows"] == PARTITIONS
    assert 0 < complete["predictions"] == emitted < len(expected)

    rest = commands.start(*run, "--close-windows")
    assert await rest.end() == 0, rest.output
    assert rest.steps("complete")[0]["partitions_with_open_windows"] == 0
    counts = await check(backfilled, SPEC)
    assert counts["windows"] == len(expected) == rest.steps("complete")[0]["predictions"]
    again = commands.start(*run, "--close-windows")
    assert await again.end() == 0 and again.steps("complete")[0]["was_complete"]
