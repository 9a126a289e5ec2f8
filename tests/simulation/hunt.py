"""Run a state machine with a seed, and name the seed where it fails."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import WorkerMachine

STEPS = 60


def hunt(machine: type[WorkerMachine], number: int, *, examples: int, shrink: bool = True) -> None:
    """Run examples of at most `STEPS` rules each. Raises what an example raises, with a note that says how to repeat it.

    number: the seed.
    shrink: whether to look for a smaller example after a failure.
    """
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    options = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        phases=phases,
        database=None,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        # A subclass, because the seed is stored in the class.
        run_state_machine_as_test(seed(number)(type(machine.__name__, (machine,), {})), settings=options)
    except Exception as error:
        command = f"python -m tests.simulation.storm --machine {machine.name} --seed {number}"
        error.add_note(f"repeat with: {command} --examples {examples} --steps 1")
        raise
