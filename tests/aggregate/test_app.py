"""The agent: what it counts, the order in which it writes and acknowledges, and how it handles a gap."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import pytest_asyncio
from faust.types import TP

from forebay.schemas.errors import BrokerError
from forebay.schemas.examples import good_examples
from forebay.stream.aggregate.app import Aggregation, Topics, WriteLimits
from forebay.stream.aggregate.state import Rows
from forebay.stream.aggregate.transport import PREVIOUS_HEADER
from forebay.stream.config.sections import TelemetrySection
from forebay.stream.core.clock import SystemClock
from forebay.stream.telemetry.aggregator_traces import DeltaTraces
from tests.aggregate.build import TIMING
from tests.eventually import eventually

DELTA = next(example.value for example in good_examples() if example.schema == "outcome-delta")


class Scene:
    """An aggregation whose writes, acknowledgements and seeks are recorded in `done`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[Any] = []
        self.fatal: list[BaseException] = []
        self.refuse = False
        self.aggregation = Aggregation(
            group_id="g",
            client_options=dict,
            consumer_options={},
            topics=Topics("deltas", "changelog", "aggregates", 4),
            timing=TIMING,
            limits=WriteLimits(10, 0.1, 5.0),
            clock=SystemClock(),
            traces=DeltaTraces(TelemetrySection(), instance="i", group_id="g", clock=SystemClock(), environ={}),
            on_fatal=self.fatal.append,
        )
        self.aggregation._app.consumer = SimpleNamespace(seek=self._seek)  # type: ignore[assignment]
        monkeypatch.setattr(self.aggregation, "publish", self._publish)
        self.aggregation._restore(1, {})
        self.aggregation.positions({1: 5}, {1: 99})

    async def _publish(self, topic: str, partition: int, rows: Rows) -> None:
        if self.refuse:
            raise BrokerError("not confirmed")
        self.done += [("write", topic, partition, (key or b"").decode()) for key, _ in rows]

    async def _seek(self, tp: TP, offset: int) -> None:
        self.done.append(("seek", tp.partition, offset))

    async def ack(self, event: Any) -> None:
        self.done.append(("ack", event.message.offset))

    async def count(self, *records: tuple[int, int], partition: int = 1, generation: int = 0) -> list[Any]:
        """Count the records, each as (position before, offset). Return what was done."""
        self.done.clear()
        events: list[Any] = [
            SimpleNamespace(
                message=SimpleNamespace(
                    partition=partition,
                    offset=offset,
                    tp=TP("deltas", partition),
                    timestamp=1372667460.0,
                    value=DELTA,
                    headers=[("x", b"y"), (PREVIOUS_HEADER, b"%d" % previous)],
                    generation_id=generation,
                )
            )
            for previous, offset in records
        ]
        await self.aggregation._count(self, events)
        return self.done


@pytest_asyncio.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def test_nothing_is_written_to_disk(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A killed process could not remove it: the next one would find one folder more each time.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    app = Scene(monkeypatch).aggregation._app
    app._create_directories()
    app.finalize()
    assert os.listdir(tmp_path) == []


async def test_deltas_are_acknowledged_after_bucket_and_position_are_written(scene: Scene) -> None:
    window = f"1|1372667400000|{orjson.loads(DELTA or b'')['version']}|flight-delay"
    assert await scene.count((5, 5), (6, 8)) == [
        ("write", "changelog", 1, window),
        ("write", "changelog", 1, "1|position"),
        ("ack", 5),
        ("ack", 8),
    ]
    assert scene.aggregation.counted == 2


async def test_unconfirmed_deltas_are_not_acknowledged(scene: Scene) -> None:
    scene.refuse = True
    with pytest.raises(BrokerError):
        await scene.count((5, 5))
    assert scene.done == []


async def test_a_gap_is_read_again_and_nothing_after_it_is_counted(scene: Scene) -> None:
    done = await scene.count((5, 5), (9, 9), (10, 10))
    assert done[-2:] == [("ack", 5), ("seek", 1, 6)]
    assert await scene.count((11, 11)) == [("seek", 1, 6)]
    assert [step for step in await scene.count((6, 7), (8, 9)) if step[0] != "write"] == [("ack", 7), ("ack", 9)]


async def test_records_of_revoked_partitions_and_older_generations_are_not_counted(scene: Scene) -> None:
    assert await scene.count((0, 0), partition=3) == []
    assert await scene.count((5, 5), generation=-7) == []
    scene.aggregation.on_revoked()
    assert await scene.count((5, 5)) == []


async def test_reading_continues_at_the_position_of_the_table_within_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    aggregation = scene.aggregation
    position = b'{"format":1,"next_offset":40,"closed_before":0}'
    aggregation._restore(1, {b"1|position": position})
    assert aggregation.positions({1: 0}, {1: 99}) == {1: 40}
    assert aggregation.positions({1: 60}, {1: 99}) == {1: 60} and "from 40 on were deleted" in caplog.text
    aggregation._restore(1, {b"1|position": position})
    assert scene.fatal == []
    aggregation.positions({1: 0}, {1: 7})
    assert isinstance(scene.fatal[0], BrokerError) and scene.fatal[0].kind == "topic_made_anew"
    assert aggregation.positions({2: 0}, {2: 9}) == {}


async def test_a_failing_agent_ends_the_process_and_is_not_restarted(scene: Scene) -> None:
    class Broken:
        async def noack_take(self, max_: int, within: float) -> Any:
            raise ValueError("boom")
            yield

    task = asyncio.ensure_future(scene.aggregation._agent(Broken()))
    await eventually(lambda: scene.fatal, "a fatal error", every_s=0)
    assert str(scene.fatal[0]) == "boom" and not task.done()
    task.cancel()
