"""A worker and an aggregator: a bad version is ended and a good one promoted, without a person."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.brokers.clients import read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.worker.judged_rollouts import GOOD, RAISING, judged_group, prove_ended, prove_promoted


@pytest.mark.slow
async def test_a_bad_version_is_ended_and_a_good_one_promoted(
    embedded_broker: Broker, names: Names, tmp_path: Path
) -> None:
    async with judged_group(embedded_broker.bootstrap, names.prefix, tmp_path) as judged:
        await prove_ended(judged, RAISING, at_most_s=60)
        await prove_promoted(judged, GOOD, weights=(50,))
        alerts = await read_committed(embedded_broker.bootstrap, f"{names.prefix}-alerts", 1)
        assert [orjson.loads(alert.value)["status"] for alert in alerts] == ["firing", "resolved"]
