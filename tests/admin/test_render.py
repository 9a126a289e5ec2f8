"""The status as text: names that any member of the group may choose cannot harm the terminal."""

from __future__ import annotations

import io

import orjson
import pytest
from rich.console import Console

from forebay.stream.admin.group_status import StatusResponse, build_group_status
from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.admin.render import render_status
from forebay.stream.admin.worker_status import decode_status
from forebay.stream.core.group import GroupSnapshot, Member
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition

HOSTILE = (
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m",
    "\u202egnp.exe",
    "[/red]",
    "[link=http://evil.example]x[/link]",
    "a\nb\rc",
)


def rendered(name: str) -> str:
    """Return the status of a group in which every text is `name`."""
    partition = TopicPartition(name, 0)
    without_url = WorkerMetadata(worker=name, url=None, models=(ModelRef(name, 1),), release=name)
    several = (ModelRef(name, 1), ModelRef("other", 2))
    with_url = WorkerMetadata(worker=name, url="http://10.0.0.1:8080", models=several, release=name)
    members = (
        Member(member_id="m1", client_id=name, host=name, user_data=b"", partitions=(partition,)),
        Member(member_id="m2", client_id=name, host=name, user_data=without_url.encode(), partitions=()),
        Member(member_id="m3", client_id=name, host=name, user_data=with_url.encode(), partitions=()),
    )
    group = GroupSnapshot(
        group_id=name, state=name, members=members, committed={}, ends={partition: 5, TopicPartition(name, 1): 5}
    )
    health = {"live": False, "ready": False, "reasons": [name], "breakers": {name: "open"}, "cluster": name}
    models = [{"name": name, "version": 1, "blocked": name}, {"name": "other", "version": 2}]
    response = StatusResponse(decode_status(orjson.dumps({"worker": name, "health": health, "models": models})))
    out = io.StringIO()
    Console(file=out, force_terminal=True, no_color=True, width=1000).print(
        render_status(build_group_status(group, {"m3": response}))
    )
    return out.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_control_neither_the_terminal_nor_the_table(name: str) -> None:
    text = rendered(name)
    styles = ("\x1b[1m", "\x1b[2m", "\x1b[0m", "\x1b[1;", "\x1b[3")
    for style in styles:
        text = text.replace(style, "")
    assert all(char.isprintable() or char == "\n" for char in text), text
    if name.isprintable():
        assert name in text


def test_a_long_name_is_shortened() -> None:
    assert max(map(len, rendered("x" * 299).splitlines())) < 1000


def test_each_of_several_models_has_a_row_with_its_rate_and_why_it_is_blocked() -> None:
    models = [
        {"name": "late", "version": 3, "now": {"events_per_s": 12.5, "latency_p50_ms": 3.0, "latency_p99_ms": 8.0}},
        {"name": "delay", "version": 1, "blocked": "breaker_open", "now": {"events_per_s": 0.0}},
    ]
    metadata = WorkerMetadata(
        worker="pod-1", url="http://10.0.0.1:8080", models=(ModelRef("late", 3), ModelRef("delay", 1)), release="1"
    )
    member = Member(member_id="m1", client_id="c", host="h", user_data=metadata.encode(), partitions=())
    group = GroupSnapshot(group_id="g", state="Stable", members=(member,), committed={}, ends={})
    document = {"worker": "pod-1", "health": {"live": True, "ready": True}, "models": models}

    def rows(response: StatusResponse) -> list[list[str]]:
        out = io.StringIO()
        Console(file=out, width=200).print(render_status(build_group_status(group, {"m1": response})))
        return [line.split() for line in out.getvalue().splitlines() if " v" in line or "models" in line]

    assert rows(StatusResponse(decode_status(orjson.dumps(document)))) == [
        ["pod-1", "2", "models", "nothing", "0", "–", "–", "–", "http://10.0.0.1:8080", "ready"],
        ["late", "v3", "12.5", "3.0", "8.0"],
        ["delay", "v1", "0.0", "–", "–", "blocked:", "breaker", "open"],
    ]
    assert rows(StatusResponse(None, "no answer"))[1:] == [
        ["late", "v3", "–", "–", "–"],
        ["delay", "v1", "–", "–", "–"],
    ]


@pytest.mark.parametrize(
    ("canaries", "shown", "served"),
    [([], "late v4 ", [4]), ([{"version": 5, "weight": 10.0}], "late v4 + v5 ", [4, 5])],
)
def test_a_worker_that_follows_rollouts_has_the_versions_that_it_serves_now(
    canaries: list[object], shown: str, served: list[int]
) -> None:
    metadata = WorkerMetadata(
        worker="pod-1",
        url="http://10.0.0.1:8080",
        models=(ModelRef("late", 3),),
        release="1",
        follows_rollouts=True,
    )
    member = Member(member_id="m", client_id="c", host="h", user_data=metadata.encode(), partitions=())
    group = GroupSnapshot(group_id="g", state="Stable", members=(member,), committed={}, ends={})
    rollout = {"model": "late", "accepted": 2, "applied": 2, "stable": 4, "canaries": canaries}
    document = {"worker": "pod-1", "health": {"live": True, "ready": True}, "rollouts": [rollout]}
    status = build_group_status(group, {"m": StatusResponse(decode_status(orjson.dumps(document)))})
    out = io.StringIO()
    Console(file=out, width=200).print(render_status(status))
    assert shown in out.getvalue()
    (worker,) = status.to_dict()["workers"]
    assert (worker["model"]["version"], [model["version"] for model in worker["models"]]) == (4, served)
    silent = build_group_status(group, {"m": StatusResponse(None, "no answer")})
    assert silent.workers[0].served == (ModelRef("late", 3),)
