"""Two real workers with one instance id: logged at the join, seen in `forebay status`."""

from __future__ import annotations

from tests.admin.test_two_workers import TOKEN, group_status
from tests.worker.harness import WorkerGroup


async def test_one_instance_id_twice_is_logged_at_once_and_seen_in_the_groups_status(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    options = {"delivery": {"instance_id": "pod-1"}, "admin": {"port": 0, "token": TOKEN}}
    one = worker_group.start(**options)
    await one.ready()
    two = worker_group.start(**options)
    await two.ready()
    warning = "2 members have the instance id 'pod-1': they fence each other"
    assert f"in this group {warning}" in one.log + two.log
    _, group = await group_status(worker_group)
    assert [said for said in group["warnings"] if said.startswith(warning)]
    await worker_group.publish(40)
    await one.says("another producer has taken over this worker's transactional id")
