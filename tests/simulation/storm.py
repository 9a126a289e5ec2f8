"""`make test-simulation`: apply many rules to simulated workers, with new seeds each time, and print the progress.

    python -m tests.simulation.storm                         1,000,000 steps over all machines
    python -m tests.simulation.storm --steps 20000 --seed 7
    python -m tests.simulation.storm --machine lanes --seed 7 --steps 1      repeats one seed

A step is one rule: an event, a fault, a rebalance, the passage of time, after which everything is checked.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
import traceback

from tests.simulation.hunt import hunt
from tests.simulation.machine import MACHINES, WorkerMachine

EXAMPLES = 200
REPORT_S = 10.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.storm", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="number of steps, approximately")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="the first seed")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="examples for each seed")
    parser.add_argument("--machine", choices=sorted(MACHINES), help="the only machine to run")
    options = parser.parse_args(arguments)
    machines = [MACHINES[options.machine]] if options.machine else list(MACHINES.values())
    began_s, reported_s = time.monotonic(), 0.0
    number = options.seed
    print(f"seed {number}; machines: {', '.join(machine.name for machine in machines)}", flush=True)
    while (steps := sum(WorkerMachine.steps.values())) < options.steps:
        machine = machines[(number - options.seed) % len(machines)]
        try:
            hunt(machine, number, examples=options.examples)
        except Exception:
            traceback.print_exc()
            print(f"\nA violation in machine {machine.name} with seed {number}, after {_progress(began_s)}.")
            return 1
        number += 1
        if time.monotonic() - reported_s >= REPORT_S:
            reported_s = time.monotonic()
            print(f"{_progress(began_s)}; next seed {number}", flush=True)
        if steps == sum(WorkerMachine.steps.values()):
            raise RuntimeError("no step was made")
    print(f"No violation in {_progress(began_s)}. Seeds {options.seed} to {number - 1}.")
    return 0


def _progress(began_s: float) -> str:
    steps = WorkerMachine.steps
    parts = ", ".join(f"{name} {count:,}" for name, count in sorted(steps.items()))
    return (
        f"{steps.total():,} steps ({parts}) in {WorkerMachine.examples:,} examples, {WorkerMachine.turns:,} turns of event "
        f"loops, {WorkerMachine.virtual_s / 3600:,.1f} simulated hours, {time.monotonic() - began_s:,.0f} s"
    )


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets must be the same when a seed is repeated.
        command = [sys.executable, "-m", "tests.simulation.storm", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONHASHSEED": "0"})
    sys.exit(main(sys.argv[1:]))
