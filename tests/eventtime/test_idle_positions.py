"""What the pipeline commits while no events arrive and windows are open or being rebuilt."""

from __future__ import annotations

from dataclasses import replace

from forebay.stream.core.records import Committed
from forebay.stream.eventtime.lane_windows import LaneWindows
from tests.core.build import P0, P1, FakeRecord, event
from tests.eventtime.build import plan, poll, stage
from tests.pipeline.test_pipeline import Rig

KEY = b"a"
PLAN = replace(plan(), num_features=3)


def committed_windows(count: int) -> Committed:
    """Return a committed position after `count` events of one open window."""
    windows = stage(PLAN)
    windows.restore({P0: None})
    chunk = poll(0, [(KEY, 0)] * count)
    (found,) = windows.take(replace(chunk, x_BF=chunk.x_BF.repeat(3, axis=1)))
    return Committed(found.next_offset, found.metadata)


def rig_with(committed: Committed, *, num_read: int) -> tuple[Rig, LaneWindows]:
    """A worker was just assigned a partition with an open window, and one that was always empty."""
    rig = Rig([0, 0])
    rig.log[P0].extend(FakeRecord(i, event(f"{i}", [i, 2, 3]), key=KEY) for i in range(num_read))
    rig.windows = LaneWindows([PLAN], clock=rig.clock)
    assert rig.windows.restore({P0: committed, P1: None}) == {P0: 0, P1: None}
    rig.source.committed[P0] = committed.offset
    return rig, rig.windows


async def test_the_position_is_committed_only_after_the_replay_has_reached_it() -> None:
    committed = committed_windows(10)
    rig, windows = rig_with(committed, num_read=7)
    async with rig.running():
        await rig.until(lambda: len(rig.source.idle_commits) >= 2)
        assert rig.source.next_offsets[P0] == 7 and rig.source.idle_commits[-1] == {P1: 0}, "P0 is being rebuilt"
        assert windows.status()[P0].replaying == 10
        rig.log[P0].extend(FakeRecord(i, event(f"{i}", [i, 2, 3]), key=KEY) for i in range(7, 10))
        await rig.until(lambda: P0 in rig.source.idle_commits[-1])
    assert windows.status()[P0].replaying is None and windows.status()[P0].open_windows == 1
    assert rig.source.idle_commits[-1] == {P0: 10, P1: 0}
    assert rig.source.idle_metadata[-1][P0] == committed.metadata
    assert rig.producer.sent == [] and rig.pipeline.num_in_flight == 0
