"""Two real workers with one instance id: logged at the join, seen in `forebay status`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.admin.test_worker import TOKEN, group_status
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.worker.harness import Stage


@pytest_asyncio.fixture
async def stage(kafka: Broker, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(kafka.bootstrap, names.prefix, tmp_path)
    await stage.create()
    try:
        yield stage
    finally:
        stage.kill_all()


async def test_one_instance_id_twice_is_logged_at_once_and_seen_in_the_groups_status(stage: Stage) -> None:
    options = {"delivery": {"instance_id": "pod-1"}, "admin": {"port": 0, "token": TOKEN}}
    one = stage.start(**options)
    await one.ready()
    two = stage.start(**options)
    await two.ready()
    warning = "2 members have the instance id 'pod-1': they fence each other"
    assert f"in this group {warning}" in one.log + two.log
    _, group = await group_status(stage)
    assert [said for said in group["warnings"] if said.startswith(warning)]
    await stage.publish(40)
    await one.says("another producer has taken over this worker's transactional id")
