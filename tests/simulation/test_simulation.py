"""Exactly once in a simulated cluster: whatever happens, each event has one outcome. `make test-simulation` runs many more."""

from __future__ import annotations

import pytest

from tests.simulation.faults import Effect, Fault, Kind
from tests.simulation.hunt import hunt
from tests.simulation.machine import MACHINES
from tests.simulation.simulation import NAMES, Simulation

EXAMPLES = 12
FEWER_EXAMPLES = {"schemas": 6, "priorities": 6}
"""Of machines that add little to others."""


@pytest.mark.parametrize("name", MACHINES)
def test_each_event_has_one_outcome(name: str) -> None:
    hunt(MACHINES[name], 1, examples=FEWER_EXAMPLES.get(name, EXAMPLES))


def test_a_simulation_depends_on_its_seed_only() -> None:
    def outcome(seed: int) -> tuple[object, ...]:
        simulation = Simulation(seed)
        try:
            for number in range(8):
                simulation.publish(number % 3, 7, bad=number)
                simulation.run(0.4)
            simulation.kill("a")
            simulation.finish()
            logs = simulation.cluster.logs
            records = {place: [(record.offset, record.value) for record in log.records] for place, log in logs.items()}
            return simulation.world.turns, simulation.world.now_s, records
        finally:
            simulation.close()

    assert outcome(3) == outcome(3)
    assert outcome(3) != outcome(4)


def test_an_idle_commit_that_arrives_after_its_deadline_does_not_undo_later_commits() -> None:
    simulation = Simulation(1)
    try:
        simulation.traffic_s = None
        simulation.publish(0, 3)
        simulation.run(8.0)
        for name in NAMES:
            simulation.inject(name, Fault(Kind.OFFSET_COMMIT, Effect.ANSWER_LATE, 5.0))
            simulation.inject(name, Fault(Kind.OFFSET_COMMIT, Effect.LATE, 2.0))
        sent = [member.connection.sent[Kind.OFFSET_COMMIT] for member in simulation.members.values()]
        # The marker of the transaction changes the position of an idle member, which commits it.
        simulation.publish(0, 1, commit=False)
        simulation.run(4.5)
        assert sent != [member.connection.sent[Kind.OFFSET_COMMIT] for member in simulation.members.values()]
        simulation.publish(0, 4)
        for _ in range(40):
            simulation.run(0.1)
        simulation.finish()
    finally:
        simulation.close()
