"""The evaluator as a process, killed once on the embedded broker. The long proof is `make test-evaluate`."""

from __future__ import annotations

from pathlib import Path

from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.exactness.evaluation_proof import EvaluationProof, Plan


async def test_sums_equal_a_recount_after_a_kill(embedded_broker: Broker, names: Names, tmp_path: Path) -> None:
    plan = Plan(
        seed=7,
        count=3_000,
        evaluators=1,
        kills=1,
        partitions=2,
        feed_s=3.0,
        kill_every_s=1.5,
        step_ms=4_000,
        static=True,
    )
    report = await EvaluationProof(plan, embedded_broker.bootstrap, names(""), tmp_path).run()
    assert report.predictions == 3_000 and report.matched > 2_000 and report.refused > 0
