"""Several models with windows and one without: wherever a worker dies, each outcome is committed exactly once."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, Chunk, Committed
from forebay.stream.eventtime.combined_state import separate
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.window_chunk import WindowChunk
from tests.conftest import examples
from tests.core.build import EPOCH, P0, ManualClock
from tests.eventtime.build import plan, routed_poll
from tests.eventtime.test_partition_windows import described, specs
from tests.eventtime.test_slices import Cut, sliced

HOURLY, DAILY, PLAIN = ModelRef("hourly", 1), ModelRef("daily", 7), ModelRef("plain", 2)
MODELS: Final = (HOURLY, DAILY, PLAIN)
Log = list[tuple[ModelRef, bytes | None, int]]


class Commit(NamedTuple):
    """One commit: the position with its state, and by model the windows and the number of events with an outcome."""

    state: Committed
    windows: dict[ModelRef, list[object]]
    num_events: dict[ModelRef, int]


class Plot(NamedTuple):
    """How a log is read.

    idle: offsets at which no event comes for long.
    seed: of the order of the commits.
    topics: those of the models that do not take windows of every topic; such a model joins at its first event.
    """

    log: Log
    cut: Cut
    idle: frozenset[int]
    seed: int
    topics: dict[ModelRef, list[str]]


@st.composite
def plots(draw: st.DrawFn) -> Plot:
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from(MODELS), st.sampled_from([b"a", b"b", b"c", None]), st.integers(-20, 20)),
            min_size=1,
            max_size=40,
        )
    )
    t, log = 20, []
    for model, key, step in steps:
        log.append((model, key, max(0, t + step)))
        t = max(t, t + step)
    cut = draw(st.builds(Cut, st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)))
    idle = draw(st.frozensets(st.integers(0, len(log)), max_size=3)) | {len(log)}
    topics = draw(st.sampled_from([{}, {HOURLY: ["another"]}, {HOURLY: [P0.topic]}]))
    return Plot(log, cut, idle, seed=draw(st.integers(0, 1000)), topics=topics)


@st.composite
def plans(draw: st.DrawFn) -> list[WindowPlan]:
    return [plan(draw(specs()), model=model, max_open_windows=draw(st.integers(0, 6))) for model in MODELS[:2]]


class Worker:
    """A worker in which everything is processed at once; only the commits are apart."""

    def __init__(self, of: Sequence[WindowPlan], plot: Plot) -> None:
        self._clock = ManualClock()
        self.windows = LaneWindows(of, clock=self._clock, topics=plot.topics)
        self._plot = plot
        self._order = random.Random(plot.seed)

    def run(self, committed: Committed | None) -> Iterator[Commit]:
        """Read the log from the committed state to its end."""
        plot, cut = self._plot, self._plot.cut
        at = self.windows.restore({P0: committed})[P0] or 0
        head = 0 if committed is None else committed.offset
        while True:
            if at >= head and at in plot.idle:
                yield from self._idle(at)
            if at >= len(plot.log):
                return
            if at < head:
                end = min(at + cut.replay, head)
                if end == head and cut.replay % 2 and head not in plot.idle:
                    end = self._poll_end(head)  # a poll over the head
            else:
                end = self._poll_end(at)
            chunks = routed_poll(at, plot.log[at:end])
            at = end
            yield from self._commits(self.windows.take(chunks))

    def _poll_end(self, at: int) -> int:
        aligned = (at // self._plot.cut.poll + 1) * self._plot.cut.poll
        return min([aligned, len(self._plot.log), *(stop for stop in self._plot.idle if stop > at)])

    def _idle(self, at: int) -> Iterator[Commit]:
        self.windows.advance({P0: at})
        for text in self.windows.metadata({P0: at}).values():
            yield Commit(Committed(at, text), {}, {})
        self._clock.advance(100_000)
        yield from self._commits(self.windows.close_idle(EPOCH, lambda partition: True))

    def _commits(self, parts: Sequence[BatchPart]) -> Iterator[Commit]:
        """Yield commits of the parts in any order that the positions permit, each of one or more slices of windows."""
        slices: dict[ModelRef, list[list[WindowChunk]]] = {}
        plain: list[Chunk] = []
        for part in parts:
            if isinstance(part, WindowChunk):
                own = slices.setdefault(part.model, [])
                for piece in sliced(part, self._plot.cut.slice):
                    if own and not own[-1][-1].can_end_commit:
                        own[-1].append(piece)
                    else:
                        own.append([piece])
            else:
                assert isinstance(part, Chunk)
                plain.append(part)
        position = min((group[-1].next_offset for own in slices.values() for group in own), default=None)
        while position is not None:
            # Everything up to the next position of all models; then slices at this position in any order.
            group = []
            for own in slices.values():
                while own and own[0][0].first_offset < position:
                    group += own.pop(0)
            rest = [own for own in slices.values() if own and own[0][-1].next_offset == position]
            if rest and (not group or self._order.random() < 0.5):
                group += self._order.choice(rest).pop(0)
            if group:
                below = [part for part in plain if part.next_offset <= position]
                plain = plain[len(below) :]
                yield self._commit(position, group, below)
            position = min((group[-1].next_offset for own in slices.values() for group in own), default=None)
        assert not plain, "a plain event has no position"

    def _commit(self, position: int, pieces: Sequence[WindowChunk], plain: Sequence[Chunk]) -> Commit:
        states: dict[ModelRef, str] = {}
        windows: dict[ModelRef, list[object]] = {}
        num_events = {part.model: part.num_records for part in plain}
        for piece in pieces:
            assert piece.next_offset == position
            states[piece.model] = piece.metadata
            windows.setdefault(piece.model, []).extend(map(described, piece.windows))
            assert len(piece.events.accepted) + len(piece.events.refused) == piece.num_records
            num_events[piece.model] = num_events.get(piece.model, 0) + piece.num_records
        text = self.windows.commit_metadata(P0, position, states)
        names = set(separate(text) or ())
        assert DAILY.name in names and len(text) <= 4096
        if any(model == HOURLY for model, _, _ in self._plot.log[:position]) or P0.topic in self._plot.topics.get(
            HOURLY, [P0.topic]
        ):
            assert HOURLY.name in names
        return Commit(Committed(position, text), windows, num_events)


def windows_of(commits: Sequence[Commit], model: ModelRef) -> list[object]:
    return [window for commit in commits for window in commit.windows.get(model, [])]


def events_of(commits: Sequence[Commit], model: ModelRef) -> int:
    return sum(commit.num_events.get(model, 0) for commit in commits)


@settings(max_examples=examples(150), deadline=None)
@given(plans(), plots(), st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(0, 4), st.booleans())
def test_a_worker_that_takes_over_after_any_commit_commits_each_outcome_once(
    of: list[WindowPlan], plot: Plot, deaths: list[int], ahead: int, same_worker: bool
) -> None:
    expected = list(Worker(of, plot).run(None))
    worker, done = Worker(of, plot), list[Commit]()
    for death in deaths:
        steps = worker.run(done[-1].state if done else None)
        run = list(islice(steps, death + 1))
        if not run:
            break
        done += run
        if same_worker:
            list(islice(steps, ahead))  # commits that fail
        else:
            worker = Worker(of, plot)
    done += worker.run(done[-1].state if done else None)
    for model in MODELS[:2]:
        assert windows_of(done, model) == windows_of(expected, model)
    for model in MODELS:
        assert events_of(done, model) == sum(event[0] == model for event in plot.log)
    assert done[-1].state == expected[-1].state
