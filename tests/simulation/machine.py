"""The rules: what may happen to two workers and their cluster, in any order."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.simulation.faults import CODES, COMMIT_KINDS, Effect, Fault, Kind
from tests.simulation.lanes import LANES_WITH_ROLLOUTS, ONE_LANE_OF_WINDOWS, THREE_LANES, TWO_INSTANCES
from tests.simulation.rollouts import VERSIONS
from tests.simulation.schemas import ALL, SchemaSimulation
from tests.simulation.simulation import NAMES, CarelessSimulation, Simulation
from tests.simulation.world import START_S, SimulationError

MEMBERS: Final = st.sampled_from(NAMES)
PARTITIONS: Final = st.integers(0, 3)
LANES: Final = st.integers(0, 2)
SECONDS: Final = st.sampled_from((0.001, 0.003, 0.003, 0.01, 0.01, 0.03, 0.03, 0.1, 0.1, 0.3, 0.3, 1.0, 7.5))
"""A session of the group lasts 6 s, a transaction 10 s."""
GROUP_KINDS: Final = (Kind.OFFSET_FETCH, Kind.OFFSET_COMMIT, Kind.HEARTBEAT, Kind.JOIN, Kind.SYNC, Kind.FETCH)


class WorkerMachine(RuleBasedStateMachine):
    """Two workers with one lane each, without windows.

    steps: the number of rules applied in all examples, by machine.
    examples, turns, virtual_s: how many examples there were, turns of event loops in them, and simulated seconds.
    """

    name: ClassVar[str] = "worker"
    steps: ClassVar[Counter[str]] = Counter()
    examples: ClassVar[int] = 0
    turns: ClassVar[int] = 0
    virtual_s: ClassVar[float] = 0.0
    reported: ClassVar[bool] = False
    simulation: Simulation

    def make(self, seed: int) -> Simulation:
        """Return the simulation of an example."""
        return Simulation(seed)

    @initialize(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 12))
    def begin(self, seed: int, count: int) -> None:
        self.simulation = self.make(seed)
        self.simulation.publish(0, count)
        self._step(0.5)

    def teardown(self) -> None:
        simulation = getattr(self, "simulation", None)
        if simulation is None:
            return
        try:
            if not simulation.failed:
                simulation.finish()
        except SimulationError as error:
            self._report(error)
            raise
        finally:
            simulation.close()
            WorkerMachine.examples += 1
            WorkerMachine.turns += simulation.world.turns
            WorkerMachine.virtual_s += simulation.world.now_s - START_S

    def _step(self, for_s: float = 0.0) -> None:
        WorkerMachine.steps[self.name] += 1
        try:
            self.simulation.run(for_s)
        except SimulationError as error:
            self._report(error)
            raise

    def _report(self, error: BaseException) -> None:
        """Print the first violation at once: it may take minutes to find a shorter example."""
        if not WorkerMachine.reported:
            WorkerMachine.reported = True
            print(
                f"machine {self.name}: {type(error).__name__}: {error}\nlooking for a shorter example ...", flush=True
            )

    # ---- the input

    @rule(number=PARTITIONS, count=st.integers(1, 12), bad=st.none() | st.integers(0, 11), for_s=SECONDS)
    def publish(self, number: int, count: int, bad: int | None, for_s: float) -> None:
        self.simulation.publish(number, count, bad=bad)
        self._step(for_s)

    @rule(number=PARTITIONS, count=st.integers(1, 4), commit=st.booleans(), for_s=SECONDS)
    def publish_transaction(self, number: int, count: int, commit: bool, for_s: float) -> None:
        self.simulation.publish(number, count, commit=commit)
        self._step(for_s)

    @rule(traffic_s=st.sampled_from((None, 0.3, 1.0, 3.0)))
    def change_traffic(self, traffic_s: float | None) -> None:
        self.simulation.traffic_s = traffic_s
        self._step()

    @rule(for_s=SECONDS)
    def wait(self, for_s: float) -> None:
        self._step(for_s)

    # ---- requests

    @rule(
        name=MEMBERS,
        kind=st.sampled_from(COMMIT_KINDS + GROUP_KINDS),
        effect=st.sampled_from((Effect.LOST, Effect.ANSWER_LOST, Effect.LATE, Effect.ANSWER_LATE)),
        seconds=st.sampled_from((0.02, 0.5, 2.0, 5.0)),
        for_s=SECONDS,
    )
    def disturb(self, name: str, kind: Kind, effect: Effect, seconds: float, for_s: float) -> None:
        # A request that is late waits for less than the client does. A second copy of it, which
        # Kafka could not distinguish from the first, is not simulated.
        self.simulation.inject(name, Fault(kind, effect, min(seconds, 2.0) if effect is Effect.LATE else seconds))
        self._step(for_s)

    @rule(
        name=MEMBERS,
        choice=st.sampled_from([(kind, code) for kind, codes in CODES.items() for code in codes]),
        for_s=SECONDS,
    )
    def refuse(self, name: str, choice: tuple[Kind, int], for_s: float) -> None:
        kind, code = choice
        self.simulation.inject(name, Fault(kind, Effect.ERROR, code=code))
        self._step(for_s)

    @rule(
        name=MEMBERS, kind=st.sampled_from(COMMIT_KINDS), seconds=st.sampled_from((0.5, 7.0, 8.0, 12.0)), for_s=SECONDS
    )
    def freeze_in_commit(self, name: str, kind: Kind, seconds: float, for_s: float) -> None:
        self.simulation.inject(name, Fault(kind, Effect.FREEZE, seconds))
        self._step(for_s)

    @rule(name=MEMBERS, kind=st.sampled_from(COMMIT_KINDS + GROUP_KINDS), for_s=SECONDS)
    def kill_at_request(self, name: str, kind: Kind, for_s: float) -> None:
        self.simulation.inject(name, Fault(kind, Effect.KILL))
        self._step(for_s)

    @rule(seconds=st.sampled_from((0.001, 0.05, 1.0, 4.0)), for_s=SECONDS)
    def slow_markers(self, seconds: float, for_s: float) -> None:
        self.simulation.cluster.transactions.markers_take_s = lambda rng: rng.random() * seconds
        self._step(for_s)

    # ---- processes

    @rule(name=MEMBERS, seconds=st.sampled_from((0.5, 7.0, 8.0, 12.0)), for_s=SECONDS)
    def freeze(self, name: str, seconds: float, for_s: float) -> None:
        self.simulation.members[name].process.freeze(seconds)
        self._step(for_s)

    @rule(name=MEMBERS, for_s=SECONDS)
    def kill(self, name: str, for_s: float) -> None:
        self.simulation.kill(name)
        self._step(for_s)

    @precondition(lambda self: any(member.process.killed for member in self.simulation.members.values()))
    @rule(for_s=SECONDS)
    def restart(self, for_s: float) -> None:
        for name, member in list(self.simulation.members.items()):
            if member.process.killed:
                self.simulation.start(name)
        self._step(for_s)

    @rule(name=MEMBERS, for_s=SECONDS)
    def drain(self, name: str, for_s: float) -> None:
        self.simulation.members[name].drain()
        self._step(for_s)

    @rule(name=MEMBERS, cut=st.booleans(), for_s=SECONDS)
    def cut_network(self, name: str, cut: bool, for_s: float) -> None:
        self.simulation.members[name].connection.cut = cut
        self._step(for_s)

    # ---- the group and the device

    @rule(name=MEMBERS, for_s=SECONDS)
    def rebalance(self, name: str, for_s: float) -> None:
        self.simulation.rejoin(name)
        self._step(for_s)

    @rule(name=MEMBERS, for_s=SECONDS)
    def forget_membership(self, name: str, for_s: float) -> None:
        self.simulation.forget(name)
        self._step(for_s)

    @rule(name=MEMBERS, lane=LANES, away=st.booleans(), for_s=SECONDS)
    def take_device(self, name: str, lane: int, away: bool, for_s: float) -> None:
        for device in self.simulation.devices(name)[lane : lane + 1]:
            device.away = away
        self._step(for_s)

    @rule(name=MEMBERS, lane=LANES, broken=st.booleans(), for_s=SECONDS)
    def break_device(self, name: str, lane: int, broken: bool, for_s: float) -> None:
        for device in self.simulation.devices(name)[lane : lane + 1]:
            device.model.broken = broken
        self._step(for_s)


class LanesMachine(WorkerMachine):
    """Two workers with three lanes each, one slow and one of windows: a topic for all of them, and one for the last."""

    name = "lanes"

    def make(self, seed: int) -> Simulation:
        return Simulation(seed, THREE_LANES)


class ProposesRevisions(WorkerMachine):
    """Two workers for which revisions are proposed, if the simulation has some."""

    @rule(
        stable=st.sampled_from(VERSIONS),
        weights=st.dictionaries(st.sampled_from(VERSIONS), st.sampled_from((1, 20, 50)), max_size=2),
        seed=st.integers(0, 3),
        route_by=st.sampled_from((None, None, "id")),
        for_s=SECONDS,
    )
    def propose(self, stable: int, weights: dict[int, int], seed: int, route_by: str | None, for_s: float) -> None:
        revisions = self.simulation.revisions
        if revisions is None:
            return
        canaries = {version: weight for version, weight in weights.items() if version != stable}
        revisions.propose(stable, canaries, seed=seed, route_by=route_by)
        self._step(for_s)


class RolloutsMachine(ProposesRevisions):
    """Two workers with two models: revisions change the versions of the first, and the second takes windows."""

    name = "rollouts"

    def make(self, seed: int) -> Simulation:
        return Simulation(seed, LANES_WITH_ROLLOUTS, has_rollouts=True)


class WindowsMachine(WorkerMachine):
    """Two workers with one lane whose model takes windows."""

    name = "windows"

    def make(self, seed: int) -> Simulation:
        return Simulation(seed, ONE_LANE_OF_WINDOWS)


class PrioritiesMachine(WorkerMachine):
    """Two workers whose topics have different priorities, each with two instances of its model."""

    name = "priorities"

    def make(self, seed: int) -> Simulation:
        return Simulation(seed, TWO_INSTANCES)


class SchemasMachine(ProposesRevisions):
    """Two workers whose events have schemas of a registry. Half of the runs have windows, and canaries of other columns."""

    name = "schemas"

    def make(self, seed: int) -> Simulation:
        if seed % 2:
            return SchemaSimulation(seed, LANES_WITH_ROLLOUTS, has_rollouts=True)
        return SchemaSimulation(seed)

    @rule(is_up=st.booleans(), for_s=SECONDS)
    def switch_registry(self, is_up: bool, for_s: float) -> None:
        assert isinstance(self.simulation, SchemaSimulation)
        self.simulation.registry.is_up = is_up
        self._step(for_s)

    @rule(registered=st.frozensets(st.sampled_from(sorted(ALL))), for_s=SECONDS)
    def register(self, registered: frozenset[int], for_s: float) -> None:
        assert isinstance(self.simulation, SchemaSimulation)
        self.simulation.registry.registered |= registered
        self._step(for_s)


class CarelessMachine(WorkerMachine):
    """Two members whose application commits all that it has read, whatever has become of the group meanwhile."""

    name = "careless"

    def make(self, seed: int) -> Simulation:
        return CarelessSimulation(seed)


MACHINES: Final = {
    machine.name: machine
    for machine in (
        *(WorkerMachine, WindowsMachine, LanesMachine, RolloutsMachine),
        *(PrioritiesMachine, SchemasMachine, CarelessMachine),
    )
}
