"""The rollouts of a group: the newest revision that is served, and the workers that do not serve it."""

from __future__ import annotations

import io
from typing import Any

import orjson
from rich.console import Console

from forebay.stream.admin.group_rollouts import group_rollouts
from forebay.stream.admin.group_status import StatusResponse, build_group_status
from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.admin.render import render_status
from forebay.stream.admin.worker_status import WorkerStatus, decode_status
from forebay.stream.core.group import GroupSnapshot, Member
from forebay.stream.core.model_ref import ModelRef


def worker(name: str, *rollouts: dict[str, Any]) -> WorkerStatus:
    document = {"worker": name, "health": {"live": True, "ready": True}, "rollouts": rollouts}
    status = decode_status(orjson.dumps(document))
    assert status is not None
    return status


def rollout(**changes: Any) -> dict[str, Any]:
    return {"model": "damp", "accepted": 3, "applied": 3, "stable": 1} | changes


CANARY = {"canaries": [{"version": 2, "weight": 12.5}], "shadows": [{"version": 3, "sample": 0.1}]}


def test_the_newest_revision_is_summarized_and_who_is_behind_is_named() -> None:
    (damp,) = group_rollouts(
        [
            worker("a", rollout(accepted=2, applied=2)),
            worker("b", rollout(**CANARY), rollout(model="late", accepted=0, applied=0)),
            worker("c", rollout(applied=2, loading=2)),
            worker("d", rollout(applied=1, error="version 2 cannot be loaded")),
        ]
    )
    assert damp.summary == "damp: revision 3, v1, canary v2 12.5 %, shadow v3 10 % of the events"
    assert damp.lagging == (
        ("a", "it serves revision 2: it has not read the newest one"),
        ("c", "it serves revision 2: it is loading v2"),
        ("d", "version 2 cannot be loaded"),
    )


def test_the_status_of_the_group_has_a_line_for_each_rollout_and_a_remark_for_who_is_behind() -> None:
    def member(name: str) -> Member:
        url = f"http://{name}:8080"
        metadata = WorkerMetadata(worker=name, url=url, models=(ModelRef("damp", 1),), release="1")
        return Member(member_id=name, client_id="c", host="h", user_data=metadata.encode(), partitions=())

    group = GroupSnapshot(group_id="g", state="Stable", members=(member("a"), member("b")), committed={}, ends={})
    states = {"a": rollout(stable=7, **CANARY), "b": rollout(stable=7, applied=2, loading=2)}
    status = build_group_status(group, {name: StatusResponse(worker(name, state)) for name, state in states.items()})
    out = io.StringIO()
    Console(file=out, width=200).print(render_status(status))
    lines = out.getvalue().splitlines()
    assert "rollout damp: revision 3, v7, canary v2 12.5 %, shadow v3 10 % of the events" in lines
    assert "b: damp: it serves revision 2: it is loading v2" in lines
    assert [line.split()[1:3] for line in lines if line.startswith(("a ", "b "))] == [["damp", "v7"], ["damp", "v7"]]
    assert [row["model"]["version"] for row in status.to_dict()["workers"]] == [7, 7], "not the announced version"
    assert [row["rollouts"][0]["applied"] for row in status.to_dict()["workers"]] == [3, 2]
