"""`make test-training`, the part on ranks: equal loss curves, restarts after kills, and how a failure ends the run.

    python -m tests.models.distributed.proof                          everything; takes about 10 minutes
    python -m tests.models.distributed.proof --only kills --kills 5

1. curves: 1 against 2 and 3 ranks at an equal global batch, in float64 without dropout, for each strategy: the loss differs by
   at most 1e-5 at each of 200 steps.
2. kills: a rank is killed with SIGKILL at a random step, 20 times in one training, with dropout, for each chosen compression.
   The weights have the same bits as those of a training that was not disturbed.
3. failures: a rank that is killed, raises or hangs ends the run in less than 60 seconds with its number and reason; the
   parameter server survives it.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from forebay.models.distributed.options import COMPRESSIONS
from forebay.schemas.errors import ModelError
from tests.models.distributed.launched import run_alone, run_ranks

STRATEGIES = ("all_reduce", "ring", "parameter_server", "auto")
MAX_LOSS_DIFFERENCE = 1e-5
MAX_FAILURE_S = 60.0
_STEP = re.compile(r"\[rank (\d+)\] pid (\d+) step (\d+)")


def server_of(strategy: str, *arguments: str) -> Sequence[str] | None:
    return arguments if strategy in ("parameter_server", "auto") else None


def curves(folder: Path) -> list[str]:
    """Compare the loss at each step with that of one process."""
    problems = []
    alone = run_alone(folder, steps=200)
    for strategy in STRATEGIES:
        for nproc in (2, 3):
            ranks = run_ranks(folder, nproc, server=server_of(strategy), steps=200, distributed={"strategy": strategy})
            pairs = list(zip(alone["losses"], ranks["losses"], strict=True))
            difference = max(abs(one - other) for one, other in pairs)
            fall = f"{alone['losses'][0]:.4f} to {alone['losses'][-1]:.4f}"
            print(
                f"curves: {strategy}, {nproc} ranks: loss from {fall}, differs by at most {difference:.2g}", flush=True
            )
            if len(pairs) != 200 or not difference <= MAX_LOSS_DIFFERENCE:
                problems.append(f"{strategy} with {nproc} ranks: the loss differs by {difference}")
    return problems


class Killer:
    """Kills a rank each time that the training reaches the next chosen step. Receives the lines of the ranks."""

    def __init__(self, seed: int, kills: int, steps: int) -> None:
        self._random = random.Random(seed)
        # In increasing order, since a training resumes at the last checkpoint before the kill.
        self._steps = sorted(self._random.choices(range(3, steps), k=kills))
        self._victims = [self._random.randrange(2) for _ in self._steps]
        self.killed: list[tuple[int, int]] = []
        self._pids: set[int] = set()

    def __call__(self, line: str) -> None:
        match = _STEP.fullmatch(line)
        if match is None or len(self.killed) == len(self._steps):
            return
        rank, pid, step = map(int, match.groups())
        if rank == self._victims[len(self.killed)] and step >= self._steps[len(self.killed)] and pid not in self._pids:
            self._pids.add(pid)
            os.kill(pid, signal.SIGKILL)
            self.killed.append((rank, step))


def kills(folder: Path, count: int, compressions: Sequence[str], seed: int) -> list[str]:
    """Compare the weights after kills with those of a training that was not disturbed."""
    problems = []
    for number, compression in enumerate(compressions):
        strategy = ("all_reduce", "ring", "parameter_server")[number % 3]
        distributed = {"strategy": strategy, "compression": compression, "density": 0.1, "checkpoint_interval": 10}
        options: dict[str, Any] = {"steps": 1200, "dtype": "float32", "dropout": 0.2, "talks": True}
        options |= {"distributed": distributed, "server": server_of(strategy)}
        undisturbed = run_ranks(folder, 2, checkpoints=str(folder / f"{compression}-undisturbed"), **options)
        killer = Killer(seed + number, count, options["steps"])
        checkpoints = str(folder / f"{compression}-killed")
        killed = run_ranks(folder, 2, report=killer, max_restarts=count, checkpoints=checkpoints, **options)
        is_equal = killed["weights"] == undisturbed["weights"] and killed["losses"] == undisturbed["losses"]
        steps = ", ".join(f"{step} (rank {rank})" for rank, step in killer.killed)
        print(
            f"kills: {strategy} with {compression}: {len(killer.killed)} SIGKILLs at the steps {steps}; "
            f"weights and losses {'have the same bits' if is_equal else 'DIFFER'}",
            flush=True,
        )
        if len(killer.killed) != count or not is_equal:
            problems.append(f"{compression}: {len(killer.killed)} kills; equal: {is_equal}")
    return problems


def failures(folder: Path) -> list[str]:
    """Check the time and the message of runs that fail."""
    problems: list[str] = []
    for strategy in ("all_reduce", "ring", "parameter_server"):
        for how, expected in (
            (int(signal.SIGKILL), "rank 1 was killed by SIGKILL"),
            ("raise", "rank 1 ended with exit status 1"),
            (int(signal.SIGSTOP), "rank 0 ended with exit status 75 because it lost another rank; rank 1 was running"),
        ):
            lines: list[str] = []
            start = time.monotonic()
            message = ""
            try:
                run_ranks(
                    folder,
                    2,
                    report=lines.append,
                    server=server_of(strategy, "--timeout", "15"),
                    steps=10_000,
                    distributed={"strategy": strategy, "timeout_s": 15.0},
                    faults=[{"rank": 1, "step": 5, "how": how}],
                )
            except ModelError as error:
                message = error.message
            seconds = time.monotonic() - start
            first, _, last = message.partition("\n")
            print(f"failures: {strategy}: {seconds:.1f} s: {first} … {last.splitlines()[-1:]}", flush=True)
            if not message.startswith(expected) or seconds >= MAX_FAILURE_S:
                problems.append(f"{strategy}, {how}: after {seconds:.1f} s: {message or 'no failure'}")
    return problems + continued(folder)


def continued(folder: Path) -> list[str]:
    """Check that a training continues without a killed rank where that is wanted."""
    lines: list[str] = []
    result = run_ranks(
        folder,
        3,
        report=lines.append,
        may_continue=True,
        server=("--lost-rank", "continue"),
        steps=200,
        distributed={"strategy": "parameter_server", "lost_rank": "continue"},
        faults=[{"rank": 1, "step": 50, "how": int(signal.SIGKILL)}],
    )
    print(f"failures: lost_rank = continue: {result['world']} of 3 ranks at the end; {lines[-1:]}", flush=True)
    is_right = result["world"] == 2 and len(result["losses"]) == 200 and result["losses"][-1] < result["losses"][0]
    return [] if is_right else [f"lost_rank = continue: {result['world']} ranks, {len(result['losses'])} steps"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.models.distributed.proof")
    parser.add_argument("--only", choices=("curves", "kills", "failures"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--compression", action="append", choices=COMPRESSIONS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="forebay-ranks-") as name:
        folder = Path(name)
        parts: dict[str, Callable[[], list[str]]] = {
            "curves": lambda: curves(folder),
            "kills": lambda: kills(
                folder, options.kills, options.compression or ["top_k_int8", "power_sgd", "int8"], options.seed
            ),
            "failures": lambda: failures(folder),
        }
        problems = [problem for part, run in parts.items() if options.only in (None, part) for problem in run()]
    for problem in problems:
        print(f"WRONG: {problem}")
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
