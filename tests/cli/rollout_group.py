"""A group of workers as the rollout's commands see it: members and their answers to `/status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from forebay.stream.admin.group_status import GroupStatus, StatusResponse, build_group_status
from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.admin.worker_status import decode_status
from forebay.stream.core.group import GroupSnapshot, Member
from forebay.stream.core.model_ref import ModelRef

MODEL = "fraud"


def member(name: str, *models: ModelRef, url: str | None = "http://10.0.0.1:8080") -> Member:
    """Return a member that is a worker with these models; without models, a member during a rebalance."""
    user_data = WorkerMetadata(worker=name, url=url, models=models, release="1").encode() if models else b""
    return Member(member_id=name, client_id=name, host="/10.0.0.1", user_data=user_data, partitions=())


def rollout(accepted: int, applied: int, stable: int, **more: Any) -> dict[str, Any]:
    """Return what a worker reports of the model's rollout."""
    return {"model": MODEL, "accepted": accepted, "applied": applied, "stable": stable} | more


def response(name: str, *rollouts: Mapping[str, Any]) -> StatusResponse:
    """Return the answer of a healthy worker with these rollouts."""
    document = {"worker": name, "health": {"live": True, "ready": True}, "rollouts": list(rollouts)}
    status = decode_status(orjson.dumps(document))
    assert status is not None
    return StatusResponse(status)


def group_status(members: Sequence[Member], responses: Mapping[str, StatusResponse]) -> GroupStatus:
    group = GroupSnapshot("forebay", "Stable", members=tuple(members), committed={}, ends={})
    return build_group_status(group, responses)
