"""`make test-mutations`: disable each protection in turn and check that the test named for it fails.

    python -m tests.exactness.mutations
    python -m tests.exactness.mutations gate

As a pytest plugin, this module applies the mutation named by `FOREBAY_TEST_MUTATION` in that process only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from forebay.stream.core.records import Epoch
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.producer import transaction
from forebay.stream.kafka.producer.transaction import Transaction
from forebay.stream.kafka.protocol import offset_requests
from tests.brokers.resolve import resolve_own
from tests.exactness.rollout_mutations import ROLLOUT_MUTATIONS

VARIABLE = "FOREBAY_TEST_MUTATION"
TESTS = "tests/exactness/test_protections.py"


def without_generation() -> None:
    """Commit positions without generation and member."""
    original = offset_requests.TxnOffsetCommit.__init__

    def init(self: Any, *, epoch: Epoch, **fields: Any) -> None:
        original(self, epoch=Epoch(-1, "", None, epoch.counter), **fields)

    offset_requests.TxnOffsetCommit.__init__ = init  # type: ignore[method-assign]


def without_capture() -> None:
    """Commit with the client's membership at the time of the commit, instead of the one under which the records were read."""
    sources: list[Source] = []
    start, commit_positions = Source.start, Transaction.commit_positions

    async def remembered(self: Source) -> None:
        sources.append(self)
        await start(self)

    async def present(self: Transaction, positions: Any, metadata: Any, epoch: Epoch) -> None:
        coordinator = sources[0]._consumer._coordinator
        now = Epoch(coordinator.generation, coordinator.member_id, None, epoch.counter)
        await commit_positions(self, positions, metadata, now)

    Source.start = remembered  # type: ignore[method-assign]
    Transaction.commit_positions = present  # type: ignore[method-assign]


def without_minus_one_guard() -> None:
    transaction.require_membership = lambda _epoch: None


def without_require_stable() -> None:
    original = offset_requests.OffsetFetch.__init__

    def init(self: Any, group_id: str, partitions: Any, *, require_stable: bool) -> None:
        original(self, group_id, partitions, require_stable=False)

    offset_requests.OffsetFetch.__init__ = init  # type: ignore[method-assign]


def without_end_txn() -> None:
    """Handle errors as the client does: its transaction forgets its contents, and an abort is not sent to the coordinator."""

    async def abort(self: Transaction) -> None:
        producer = self._output_producer.producer
        producer._txn_manager.error_transaction(KafkaError("refused"))
        await producer.abort_transaction()

    Transaction.abort = abort  # type: ignore[method-assign]


def without_gate() -> None:
    """Begin reading with the assignment, at the client's own position."""

    def start_opening(self: Source, epoch: Epoch | None) -> None:
        if epoch is None:
            return
        self._assignment.open(epoch)
        self._consumer.resume(*self._consumer.assignment())
        self._opened.set()

    Source._start_opening = start_opening  # type: ignore[method-assign]


class Mutation(NamedTuple):
    """A disabled protection, and the test that must detect it."""

    apply: Callable[[], None]
    test: str
    file: str = TESTS


MUTATIONS = {
    "generation": Mutation(without_generation, "test_generation"),
    "capture-time": Mutation(without_capture, "test_capture_time"),
    "minus-one-guard": Mutation(without_minus_one_guard, "test_minus_one"),
    "require-stable": Mutation(without_require_stable, "test_require_stable"),
    "end-txn-after-refusal": Mutation(without_end_txn, "test_end_txn_after_refusal"),
    "gate": Mutation(without_gate, "test_gate"),
}


ALL_MUTATIONS: Mapping[str, Mutation] = MUTATIONS | {
    name: Mutation(one.apply, one.test, one.file) for name, one in ROLLOUT_MUTATIONS.items()
}


def pytest_configure() -> None:
    """Apply the mutation, if one is named."""
    if name := os.environ.get(VARIABLE):
        ALL_MUTATIONS[name].apply()


def run_test(mutated: Mutation, bootstrap: str, mutation: str | None) -> tuple[int, str]:
    """Run a test and return pytest's exit status and last line."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.exactness.mutations",
        f"{mutated.file}::{mutated.test}",
    ]
    environment = os.environ | {"FOREBAY_TEST_BOOTSTRAP": bootstrap, VARIABLE: mutation or ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
    return done.returncode, said[0].removeprefix("E").strip() if said else ""


def main(chosen: list[str]) -> int:
    console = Console()
    names = chosen or list(ALL_MUTATIONS)
    if unknown := set(names) - ALL_MUTATIONS.keys():
        console.print(f"[red]no such mutation:[/] {', '.join(sorted(unknown))}; there are {', '.join(ALL_MUTATIONS)}")
        return 2
    table = Table("taken out", "its test", "without the mutation", "with it")
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        source = resolve_own(os.environ)
        assert source.make is not None
        server = source.make(Path(folder) / "kafka", {})
        server.start()
        try:
            for name in names:
                mutation = ALL_MUTATIONS[name]
                console.print(f"[dim]{name} …[/]")
                whole, _ = run_test(mutation, server.bootstrap, None)
                without, why = run_test(mutation, server.bootstrap, name)
                killed = whole == 0 and without == 1
                survived += not killed
                table.add_row(
                    name,
                    mutation.test,
                    "[green]passes[/]" if whole == 0 else f"[red]exit status {whole}[/]",
                    f"[green]fails[/]: {why[:80]}" if without == 1 else f"[red]exit status {without}[/]",
                )
        finally:
            server.remove()
    console.print(table)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
