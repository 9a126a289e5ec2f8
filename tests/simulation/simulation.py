"""One simulation: a world, a cluster, and two members, with what the rules of the state machine do to them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple
from unittest import mock

import orjson

from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.producer import producer as producer_module
from tests.simulation.audit import Violation
from tests.simulation.careless import CarelessMember
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.consumer import ForgetfulCoordinator
from tests.simulation.device import SimulatedDevice
from tests.simulation.expected_windows import WindowEvent
from tests.simulation.faults import Fault
from tests.simulation.lanes import INPUTS, ONE_LANE, OUTPUTS, LaneOptions
from tests.simulation.member import Member
from tests.simulation.producer import SimulatedProducer
from tests.simulation.rollouts import SimulatedRevisions
from tests.simulation.world import SimulationError, World

DRAIN_TIMEOUT_S: Final = 120.0
KEYS: Final = 4
NAMES: Final = ("a", "b")

_TIMED_MODULES: Final = (
    "aiokafka.consumer.group_coordinator.time",
    "aiokafka.consumer.subscription_state.time",
    "forebay.stream.kafka.consumer.positions.time",
)


class _InputEvent(NamedTuple):
    """An event of the input. for_windows: what the audit has to know of it if its model takes windows."""

    key: bytes
    value: bytes
    for_windows: WindowEvent | None


class Simulation:
    """Two members of a group over a simulated cluster.

    lineup: the lanes of each member.
    has_rollouts: whether revisions change the versions of the first model.
    """

    member_type: ClassVar[type[Member]] = Member

    def __init__(self, seed: int, lineup: Sequence[LaneOptions] = ONE_LANE, *, has_rollouts: bool = False) -> None:
        self._lineup = lineup
        self.revisions = SimulatedRevisions() if has_rollouts else None
        self.world = World(seed)
        self._patches: list[Any] = [mock.patch(name, self.world) for name in _TIMED_MODULES]
        self._patches.append(mock.patch.object(producer_module, "AIOKafkaProducer", SimulatedProducer))
        for patch in self._patches:
            patch.start()
        self._log_level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        self.cluster = SimulatedCluster(self.world, INPUTS | OUTPUTS, tuple(INPUTS))
        self.cluster.audit.revisions = self.revisions
        self.members: dict[str, Member] = {}
        self.failed = False
        self._incarnations = 0
        self._published = 0
        self.traffic_s: float | None = 1.0
        self.world.after(0.5, self._publish_some)
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        """Start a member, or start it again after it has ended."""
        self._incarnations += 1
        member = self.members[name] = self.member_type(
            self.world,
            self.cluster,
            name,
            incarnation=self._incarnations,
            lineup=self._lineup,
            revisions=self.revisions,
        )
        member.start()

    def run(self, for_s: float) -> None:
        """Let time pass, then check what holds at any time."""
        try:
            self.world.run(for_s)
            self.check()
        except BaseException:
            self.failed = True
            raise

    def check(self) -> None:
        """Check the invariants, and start members again that ended by themselves."""
        if self.world.errors:
            raise SimulationError("; ".join(self.world.errors))
        for name, member in list(self.members.items()):
            member.check()
            if member.has_ended and not member.process.killed:
                member.process.close()
                self.start(name)
        self.cluster.audit.check()

    def publish(self, number: int, count: int, *, bad: int | None = None, commit: bool | None = None) -> None:
        """Publish events to a partition of the input, for random models if there are several.

        number: the index of the partition among all.
        bad: the index of an event that fails: at an even index it is not JSON, at an odd one the model raises on it.
        commit: whether the events are in a transaction that is committed or aborted; None for no transaction.
        """
        partition = self.cluster.inputs[number % len(self.cluster.inputs)]
        events = [
            self._event(partition, not_json=index == bad and index % 2 == 0, fails=index == bad)
            for index in range(count)
        ]
        writer = None if commit is None else object()
        offsets = self.cluster.publish(partition, [(event.key, event.value) for event in events], writer=writer)
        for offset, event in zip(offsets, events, strict=True):
            if event.for_windows is not None:
                self.cluster.audit.on_window_event(partition, offset, event.for_windows._replace(offset=offset))
        if commit is not None:
            self.cluster.end_input_transaction(partition, writer, commit=commit)

    def _event(self, partition: TopicPartition, *, not_json: bool, fails: bool) -> _InputEvent:
        rng = self.world.rng
        self._published += 1
        key, number = b"k%d" % (self._published % KEYS), self._published % 1000
        if not_json:
            return _InputEvent(key, b"{", None)
        # One in eight events is so old that it may be late.
        timestamp = self.world.wall_ms() - rng.choice((0, 0, 50, 100, 200, 300, 400, 2000))
        event = {"id": f"e{self._published}", "timestamp": timestamp, "features": [number, float(fails), number]}
        default, lane = self._lineup[0], rng.choice((None, *self._lineup)) if len(self._lineup) > 1 else None
        if lane is not None:
            event["model"] = lane.name
        else:
            lane = next((lane for lane in self._lineup if partition.topic in lane.topics), default)
        for_windows = WindowEvent(lane.name, -1, key, timestamp, value=number, bad=fails) if lane.of_windows else None
        return _InputEvent(key, orjson.dumps(event), for_windows)

    def _publish_some(self) -> None:
        """Publish a few events every `traffic_s`; None for no traffic."""
        rng = self.world.rng
        if self.traffic_s is not None:
            self.publish(rng.randrange(len(self.cluster.inputs)), rng.randint(1, 4), bad=rng.choice((None, None, 0, 1)))
        self.world.after(self.traffic_s or 0.5, self._publish_some)

    def inject(self, name: str, fault: Fault) -> None:
        """Let a fault happen to a member's next request of a kind."""
        self.members[name].connection.faults.add(fault)

    def kill(self, name: str) -> None:
        """Kill a member."""
        if not self.members[name].process.killed:
            self.members[name].process.kill()

    def rejoin(self, name: str) -> None:
        """Let a member join the group again, as after a change of the topics."""
        coordinator = self._coordinator(name)
        if coordinator is not None and coordinator.generation > 0:
            coordinator.request_rejoin()

    def forget(self, name: str) -> None:
        """Let a member's client lose its membership just before it reports its next assignment, and rejoin."""
        coordinator = self._coordinator(name)
        if (
            coordinator is not None
            and coordinator.generation > 0
            and set(self.cluster.inputs) <= self.cluster.group.offsets.keys()
        ):
            coordinator.forgets_next = True
            coordinator.request_rejoin()

    def devices(self, name: str) -> list[SimulatedDevice]:
        """Return a member's devices, one for each lane; nothing once it has ended."""
        member = self.members[name]
        return [] if member.has_ended else [lane.device for lane in member.served]

    def _coordinator(self, name: str) -> ForgetfulCoordinator | None:
        member = self.members[name]
        return None if member.has_ended else member.coordinator

    def heal(self) -> None:
        """End all that goes wrong, and start members again that were killed."""
        for name, member in list(self.members.items()):
            member.connection.faults.clear()
            member.connection.cut = False
            member.process.thaw()
            if (coordinator := self._coordinator(name)) is not None:
                coordinator.forgets_next = False
            for device in self.devices(name):
                device.away = device.model.broken = False
            if member.process.killed:
                self.start(name)
        self.cluster.transactions.markers_take_s = lambda _rng: 0.001

    def finish(self) -> None:
        """Let all members work undisturbed until everything is committed, and check the whole result."""
        self.heal()
        self.traffic_s = None
        audit, end_s = self.cluster.audit, self.world.now_s + DRAIN_TIMEOUT_S
        while audit.num_undecided() or self.cluster.transactions.is_ending_any or audit.missing_windows():
            if self.world.now_s >= end_s:
                raise Violation(
                    f"{audit.num_undecided()} records and {len(audit.missing_windows())} windows have no outcome after "
                    f"{DRAIN_TIMEOUT_S:g} s without faults"
                )
            self.run(1.0)
        self.run(0.5)
        audit.check_all()

    def close(self) -> None:
        """End all processes."""
        try:
            self.world.close()
        finally:
            for patch in self._patches:
                patch.stop()
            logging.disable(self._log_level)


class CarelessSimulation(Simulation):
    """Two careless members: only the protections at the edge to Kafka keep their commits exact."""

    member_type = CarelessMember

    def devices(self, name: str) -> list[SimulatedDevice]:
        """Return nothing: a careless member has no device."""
        return []
