"""Exactly once in a simulated cluster: whatever happens, each event has one outcome. `make test-simulation` runs many more."""

from __future__ import annotations

import pytest

from tests.simulation.hunt import hunt
from tests.simulation.machine import MACHINES
from tests.simulation.simulation import Simulation

EXAMPLES = 50


@pytest.mark.parametrize("name", MACHINES)
def test_each_event_has_one_outcome(name: str) -> None:
    hunt(MACHINES[name], 1, examples=EXAMPLES)


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
