"""Without one of the six protections of exactly once, the simulation finds a violation: in seconds, and without a broker."""

from __future__ import annotations

import pytest

from tests.exactness.mutations import MUTATIONS
from tests.simulation.audit import Violation
from tests.simulation.hunt import hunt
from tests.simulation.machine import CarelessMachine, WorkerMachine
from tests.simulation.mutations import without

MAX_EXAMPLES = 1500
MACHINES = {
    "generation": CarelessMachine,
    "capture-time": CarelessMachine,  # in a worker, the check of the epoch stands before it
    "minus-one-guard": CarelessMachine,
    "require-stable": WorkerMachine,
    "end-txn-after-refusal": CarelessMachine,  # a worker replaces its producer after each failed commit
    "gate": WorkerMachine,
}


LONG = {"require-stable"}
"""Found only after many examples; `make test-mutations` finds it on a real Kafka."""


@pytest.mark.parametrize(
    "protection", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in MUTATIONS]
)
def test_a_missing_protection_is_found(protection: str) -> None:
    with without(protection), pytest.raises(Violation):
        hunt(MACHINES[protection], 2, examples=MAX_EXAMPLES, shrink=False)
