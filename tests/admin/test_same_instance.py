"""Two real workers with the same instance id: a warning in the log and in `forebay status`."""

from __future__ import annotations

from tests.admin.test_two_workers import TOKEN, group_status
from tests.worker.harness import WorkerGroup


async def test_an_instance_id_that_is_used_twice_is_logged_and_in_the_group_status(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    options = {"delivery": {"instance_id": "pod-1"}, "admin": {"port": 0, "token": TOKEN}}
    first = worker_group.start(**options)
    await first.ready()
    second = worker_group.start(**options)
    await second.ready()
    warning = "2 members have the instance id 'pod-1': they fence each other"
    assert f"in this group {warning}" in first.log + second.log
    _, group = await group_status(worker_group)
    assert [text for text in group["warnings"] if text.startswith(warning)]
    await worker_group.publish(40)
    await first.says("another producer has taken over this worker's transactional id")
