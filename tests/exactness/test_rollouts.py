"""Rollouts while workers are killed, on a real Kafka: every event has one outcome, of the version that the records give.

FOREBAY_ROLLOUT_CYCLES, _RATE, _MINUTES and FOREBAY_EXACTNESS_SEED choose the run of `make test-rollouts`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.brokers.resolve import RealKafka
from tests.conftest import Names
from tests.exactness.chaos import outage_of
from tests.exactness.proof import SEED_VARIABLE, Plan, Proof
from tests.exactness.rollout_proof import (
    CYCLES_VARIABLE,
    MINUTES_VARIABLE,
    RATE,
    RATE_VARIABLE,
    Cycles,
    CyclesProof,
    RolloutWorkload,
)

pytestmark = [
    pytest.mark.exactness,
    pytest.mark.filterwarnings(
        "ignore:Unclosed AIOKafka", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
]

SHORT_CYCLES = 3
MINUTES = 60.0


@pytest.mark.timeout(7200)
async def test_cycles_of_canary_promotion_and_rollback(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    cycles = int(os.environ.get(CYCLES_VARIABLE) or SHORT_CYCLES)
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
    rate = int(os.environ.get(RATE_VARIABLE) or RATE)
    plan = Cycles(cycles, seed, rate, minutes=float(os.environ.get(MINUTES_VARIABLE) or MINUTES))
    await CyclesProof(plan, server.bootstrap, names.prefix, tmp_path).run()


@pytest.mark.timeout(900)
async def test_a_storm_with_random_rollouts(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(private_kafka, {})
    plan = Plan.of_environment("rollouts, broker killed", seconds=60, min_aborted=3, rate=1500)
    workload = RolloutWorkload(tmp_path / "repository")
    proof = Proof(plan, server.bootstrap, names.prefix, tmp_path, workload=workload)
    await proof.run([(0.5, outage_of(server, seconds=3, clean=False))])
