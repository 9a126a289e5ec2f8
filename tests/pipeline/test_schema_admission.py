"""Partitions that wait for schemas: the admission by itself, and in the pipeline over a scripted source."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.failures import Outcome
from forebay.stream.core.records import Epoch, Record, TopicPartition
from forebay.stream.pipeline.schema_admission import EAGER_FOR_S, EAGER_POLL_S, SchemaAdmission
from forebay.stream.schema_registry.framing import VALUE_SCHEMA_HEADER, frame, read_framing
from forebay.stream.schema_registry.schema import SchemaRef
from tests.core.build import P0, P1, FakeRecord, ManualClock
from tests.pipeline.rig import Rig

EPOCH, LATER = Epoch(1, "member", None, 1), Epoch(1, "member", None, 2)
ONE, TWO = SchemaRef(id=1), SchemaRef(id=2)


class Lookups:
    """Schemas that a test resolves."""

    def __init__(self, *known: SchemaRef) -> None:
        self.known = set(known)
        self.rejected: set[SchemaRef] = set()
        self.wanted: set[SchemaRef] = set()

    def is_resolved(self, ref: SchemaRef) -> bool:
        return ref in self.known or ref in self.rejected

    def is_rejected(self, ref: SchemaRef) -> bool:
        return ref in self.rejected

    def problem(self, ref: SchemaRef) -> str | None:
        return "the registry is on holiday" if ref in self.wanted else None

    def want(self, refs: Collection[SchemaRef]) -> None:
        self.wanted = set(refs)


class Holds:
    """Partitions that are held, with the offsets to which they returned."""

    def __init__(self) -> None:
        self.held: dict[TopicPartition, int] = {}

    def hold(self, partition: TopicPartition, offset: int) -> None:
        self.held[partition] = offset

    def release(self, partition: TopicPartition) -> None:
        del self.held[partition]


def ref_of(record: Record, _topic: str) -> SchemaRef | None:
    framing = read_framing(record.value, record.headers)
    return None if framing is None else framing.ref


def framed(*ids: int | None, start: int = 0) -> list[FakeRecord]:
    """Return records whose schemas have these ids; None stands for JSON."""
    values = [b"{}" if number is None else frame(number, b"payload") for number in ids]
    return [FakeRecord(start + index, value) for index, value in enumerate(values)]


def admission(lookups: Lookups, holds: Holds, clock: ManualClock | None = None) -> SchemaAdmission:
    return SchemaAdmission(holds, lookups, ref_of=ref_of, clock=clock or ManualClock())


@pytest.mark.parametrize("ids", [(None, None), (1, 1, 2), (None, 1, None), ()])
def test_a_poll_whose_schemas_are_known_passes_as_it_is(ids: tuple[int | None, ...]) -> None:
    lookups, holds = Lookups(ONE, TWO), Holds()
    poll = {P0: framed(*ids)}
    assert admission(lookups, holds).admit(poll, EPOCH) is poll
    assert not holds.held and not lookups.wanted


def test_look_ups_of_an_earlier_epoch_end_with_the_first_poll_of_the_next() -> None:
    lookups, holds = Lookups(ONE), Holds()
    admitting = admission(lookups, holds)
    admitting.admit({P0: framed(2)}, EPOCH)
    assert lookups.wanted == {TWO}
    poll = {P1: framed(1)}  # the partition that waited belongs to another worker now
    assert admitting.admit(poll, LATER) is poll
    assert not lookups.wanted and not admitting.waits()


def test_a_partition_is_held_at_the_first_record_whose_schema_is_not_known() -> None:
    lookups, holds, clock = Lookups(ONE), Holds(), ManualClock()
    admitting = admission(lookups, holds, clock)
    poll = {P0: framed(1, None, 2, 1, start=10), P1: framed(1, 1)}
    assert admitting.admit(poll, EPOCH) == {P0: poll[P0][:2], P1: poll[P1]}
    assert holds.held == {P0: 12} and lookups.wanted == {TWO}
    (wait,) = admitting.waits()
    assert wait == (P0, 12, TWO, clock.now_s, "the registry is on holiday")
    assert wait.description == "features-0 waits at offset 12 for schema id 2: the registry is on holiday"
    admitting.advance(EPOCH)
    assert holds.held == {P0: 12}
    lookups.known.add(TWO)
    admitting.advance(EPOCH)
    assert holds.held == {} and admitting.waits() == [] and lookups.wanted == set()


def test_nothing_of_a_partition_is_admitted_if_its_first_record_waits() -> None:
    lookups, holds = Lookups(), Holds()
    assert admission(lookups, holds).admit({P0: framed(1), P1: framed(1, 2)}, EPOCH) == {}
    assert holds.held == {P0: 0, P1: 0} and lookups.wanted == {ONE}


def test_a_record_that_is_to_be_rejected_passes_once_even_if_its_schema_is_asked_for_again() -> None:
    lookups, holds = Lookups(), Holds()
    admitting = admission(lookups, holds)
    poll = {P0: framed(1, None, 1, start=5)}
    for offset in (5, 7):
        assert admitting.admit({P0: poll[P0][offset - 5 :]}, EPOCH) == {} and holds.held == {P0: offset}
        lookups.rejected.add(ONE)
        admitting.advance(EPOCH)
        lookups.rejected.clear()
        if offset == 5:
            assert admitting.admit(poll, EPOCH) == {P0: poll[P0][:2]} and holds.held == {P0: 7}
            holds.held.clear()
    assert admitting.admit({P0: poll[P0][2:]}, EPOCH) == {P0: poll[P0][2:]}


def test_polls_wait_only_briefly_while_an_answer_is_expected_soon() -> None:
    clock = ManualClock()
    admitting = admission(Lookups(), Holds(), clock)
    assert admitting.max_poll_wait_s(clock.now_s) == math.inf
    admitting.admit({P0: framed(1)}, EPOCH)
    assert admitting.max_poll_wait_s(clock.now_s + EAGER_FOR_S / 2) == EAGER_POLL_S
    assert admitting.max_poll_wait_s(clock.now_s + EAGER_FOR_S) == math.inf


def test_a_header_names_a_schema_too() -> None:
    holds = Holds()
    records = framed(1, 1)
    records[1] = replace(records[1], headers=[(VALUE_SCHEMA_HEADER, frame(2, b""))])
    assert admission(Lookups(ONE), holds).admit({P0: records}, EPOCH) == {P0: records[:1]}
    assert holds.held == {P0: 1}


def test_a_short_value_names_no_schema() -> None:
    poll = {P0: [FakeRecord(0, b"\0\0"), FakeRecord(1, None), FakeRecord(2, b"")]}
    assert admission(Lookups(), Holds()).admit(poll, EPOCH) is poll


def test_holds_end_with_their_epoch() -> None:
    lookups, holds = Lookups(), Holds()
    admitting = admission(lookups, holds)
    admitting.admit({P0: framed(1)}, EPOCH)
    holds.held.clear()  # as the source does
    admitting.advance(None)
    assert admitting.waits() == [] and lookups.wanted == set()
    admitting.admit({P0: framed(1)}, LATER)
    assert holds.held == {P0: 0} and len(admitting.waits()) == 1
    holds.held.clear()
    third = replace(LATER, counter=3)
    assert admitting.admit({P1: framed(None)}, third) and admitting.waits() == []
    lookups.known.add(ONE)
    admitting.advance(third)  # releases nothing


class SchemaRig(Rig):
    """A pipeline whose records have the schemas 1 and 2."""

    def __init__(self, *ids: tuple[int | None, ...]) -> None:
        super().__init__([len(numbers) for numbers in ids], max_poll=4)
        for partition, numbers in zip((P0, P1), ids, strict=False):
            self.log[partition][:] = framed(*numbers)
        self.lookups = Lookups()
        self.schemas = SchemaAdmission(self.source, self.lookups, ref_of=ref_of, clock=self.clock)

    def dead_letters(self) -> int:
        # The decoder of this pipeline does not know the format, so each record becomes a dead letter.
        return sum(place.topic == "dead-letters" for place, _ in self.producer.sent)


async def test_a_partition_waits_and_the_other_is_read() -> None:
    rig = SchemaRig((1, 1, 2, 1, 2), (1, 1, 1))
    rig.lookups.known.add(ONE)
    async with rig.running():
        await rig.until(lambda: rig.source.committed == {P0: 2, P1: 3} and bool(rig.source.idle_commits))
        assert rig.source.held == {P0} and rig.pipeline.num_in_flight == 0
        rig.lookups.known.add(TWO)
        await rig.until(rig.all_committed)
    assert rig.pipeline.totals.outcomes == {Outcome.REJECTED: 8} and rig.dead_letters() == 8
    assert rig.source.rewinds == 0


async def test_a_failed_commit_while_a_partition_waits_loses_and_repeats_nothing() -> None:
    rig = SchemaRig((1, 1, 1, 2, 1, 2, 1), (1, 2, 1))
    rig.lookups.known.add(ONE)
    failures = iter([True, False, True, False, True])

    def fail() -> None:
        if next(failures, False):
            raise KafkaConnectionError("gone")

    rig.producer.fail = fail
    async with rig.running():
        await rig.until(lambda: rig.source.committed == {P0: 3, P1: 1} and rig.source.held == {P0, P1})
        rig.lookups.known.add(TWO)
        await rig.until(rig.all_committed)
    assert rig.source.rewinds >= 2 and rig.dead_letters() == 10
    assert rig.pipeline.totals.outcomes == {Outcome.REJECTED: 10}


async def test_a_drain_does_not_wait_for_schemas() -> None:
    rig = SchemaRig((1, 1, 2, 1), (2,))
    rig.lookups.known.add(ONE)
    async with rig.running():
        await rig.until(lambda: rig.source.held == {P0, P1})
        rig.pipeline.stop()
        await rig.pipeline.drain()
    assert rig.source.committed == {P0: 2, P1: 0} and rig.dead_letters() == 2


@given(
    ids=st.tuples(*[st.lists(st.sampled_from([None, 1, 2, 3]), max_size=12)] * 2),
    failures=st.lists(st.booleans(), max_size=4),
    steps=st.lists(st.sampled_from(["one", "two", "reject", "forget"]), max_size=5),
)
@settings(max_examples=10, deadline=None)
async def test_whatever_happens_while_partitions_wait_each_record_has_one_outcome(
    ids: tuple[list[int | None], list[int | None]], failures: list[bool], steps: list[str]
) -> None:
    rig = SchemaRig(*map(tuple, ids))
    failing = iter(failures)

    def fail() -> None:
        if next(failing, False):
            raise KafkaConnectionError("gone")

    rig.producer.fail = fail
    async with rig.running():
        for step in steps:
            polled = rig.source.polled
            await rig.until(lambda polled=polled: rig.source.polled > polled + 2)  # type: ignore[misc]
            if step == "reject":
                rig.lookups.rejected.add(SchemaRef(id=3))
            elif step == "forget":
                rig.lookups.rejected.clear()
            else:
                rig.lookups.known.add(ONE if step == "one" else TWO)
        rig.lookups.known |= {ONE, TWO, SchemaRef(id=3)}
        await rig.until(rig.all_committed, step_s=0.1)
    assert rig.dead_letters() == sum(map(len, ids)) == rig.pipeline.totals.outcomes.get(Outcome.REJECTED, 0)
