"""`make test-evaluate`: labels and predictions on a real Apache Kafka while evaluators are killed, compared with a recount.

python -m tests.exactness.evaluation
python -m tests.exactness.evaluation --kills 5 --predictions 20000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.brokers.resolve import resolve
from tests.exactness.evaluation_proof import EvaluationProof, Plan, Report

KILLS = 20
PREDICTIONS = 200_000


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-evaluate ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS, help=f"number of SIGKILLs; default: {KILLS}")
    parser.add_argument("--predictions", type=int, default=PREDICTIONS, help=f"default: {PREDICTIONS:,}")
    parser.add_argument("--seed", type=int, help="seed of the records and the kills; default: random")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE as JSON")
    return parser.parse_args(words)


def plan_of(asked: argparse.Namespace) -> Plan:
    return Plan(
        seed=random.randrange(1 << 32) if asked.seed is None else asked.seed,
        count=asked.predictions,
        evaluators=2,
        kills=asked.kills,
        feed_s=asked.kills * 3.0,
        batches=max(20, asked.kills * 10),
        kill_every_s=4.0,
        step_ms=200,
        topics=("predictions", "review", "high", "low"),
    )


def run(plan: Plan, folder: Path) -> Report:
    """Run the plan on a Kafka of its own, or on the one that FOREBAY_TEST_BOOTSTRAP names."""
    source = resolve(os.environ)
    print(f"{source.description}; seed {plan.seed}; logs in {folder}", flush=True)
    prefix = f"evaluate-{plan.seed}-"
    (folder / "logs").mkdir()
    if source.make is None:
        return asyncio.run(EvaluationProof(plan, str(source.named), prefix, folder / "logs").run())
    kafka = source.make(folder / "kafka", {})
    try:
        kafka.start()
        return asyncio.run(EvaluationProof(plan, kafka.bootstrap, prefix, folder / "logs").run())
    finally:
        kafka.stop()
        kafka.remove()


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    with TemporaryDirectory() as folder:
        report = run(plan_of(asked), Path(folder))
    print("the sums on the topic quality equal the recount, for each model, version and window")
    for name, value in report.as_dict().items():
        print(f"  {name.replace('_', ' '):<12} {value:>10,}")
    if asked.json:
        asked.json.write_text(json.dumps(report.as_dict()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
