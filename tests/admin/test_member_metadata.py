"""Metadata that a worker announces, through the client's own protocol and back, and the status of a group from it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import orjson
import pytest
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.admin.group_status import (
    MAX_REASON_CHARS,
    StatusResponse,
    admin_urls,
    build_group_status,
    format_partitions,
    lag_of,
)
from forebay.stream.admin.member_metadata import WorkerMetadata, decode_member_metadata
from forebay.stream.admin.worker_status import decode_status
from forebay.stream.core.group import GroupSnapshot, Member
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.group_inspector import decode_member
from forebay.stream.kafka.consumer.assignor import AdvertisingAssignor

METADATA = WorkerMetadata(worker="pod-1", url="http://10.0.0.1:8080", models=(ModelRef("late", 3),), release="0.1.0")
P = [TopicPartition("features", number) for number in range(5)]


def test_metadata_is_part_of_the_join_under_the_name_of_the_plain_assignor() -> None:
    announced: list[bytes] = []
    assignor = AdvertisingAssignor(METADATA.encode, announced.extend)
    metadata = ConsumerProtocolMemberMetadata.decode(assignor.metadata({"features"}).encode())
    assert metadata.subscription == ["features"]
    assert decode_member_metadata(metadata.user_data) == METADATA
    following = replace(METADATA, follows_rollouts=True)
    assert decode_member_metadata(following.encode()) == following
    # A worker of an older release can be a member of the same group, and its leader.
    assert assignor.name == RoundRobinPartitionAssignor.name
    cluster = SimpleNamespace(partitions_for_topic=lambda _topic: {0, 1, 2})
    members = {"m1": metadata, "m2": ConsumerProtocolMemberMetadata(0, ["features"], b"")}
    plain = RoundRobinPartitionAssignor.assign(cluster, members)  # type: ignore[arg-type]
    assert [assigned.encode() for assigned in assignor.assign(cluster, members).values()] == [
        assigned.encode() for assigned in plain.values()
    ]
    assert announced == [METADATA.encode(), b""], "the group's leader needs what each member announces"


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda x: repr(x).encode()))
def test_other_user_data_is_not_metadata(user_data: bytes) -> None:
    assert decode_member_metadata(user_data) is None


@pytest.mark.parametrize(
    "user_data",
    [
        b'{"forebay":2,"worker":"w","url":null,"model":"m","version":1,"release":"1"}',
        b'{"forebay":1,"worker":"w","url":"file:///etc/passwd","model":"m","version":1,"release":"1"}',
        b'{"forebay":1,"worker":"w","url":null,"model":"m","version":"1","release":"1"}',
        b'{"forebay":1,"worker":5,"url":null,"model":"m","version":1,"release":"1"}',
        b'{"forebay":1,"worker":"w","url":null,"model":"m","version":true,"release":"1"}',
        b'{"forebay":1,"worker":"w","url":null,"model":"m","version":-1,"release":"1"}',
        b'{"forebay":1,"worker":"w","url":null,"model":"m","version":1e999,"release":"1"}',
        *(
            b'{"forebay":1,"worker":"w","url":%s,"model":"m","version":1,"release":"1"}' % orjson.dumps(url)
            for url in (
                "http://",
                "http://[",
                "http://worker:port",
                "http://worker:0",
                "http://10.0.0.1\r\nX: y",
                "http://\x1b[2Jworker",
                "http://127.0.0.1@evil.example",
                "http://evil.example\\@127.0.0.1",
                "http://10.0.0.1:8080/pause?x=",
                "http://10.0.0.1:8080/#",
                "http://" + "a" * 400,
            )
        ),
    ],
)
def test_metadata_with_an_invalid_field_is_not_accepted(user_data: bytes) -> None:
    assert decode_member_metadata(user_data) is None


SEVERAL = replace(METADATA, models=(ModelRef("late", 3), ModelRef("delay", 1), ModelRef("price", 7)))


def test_several_models_are_announced_and_the_first_also_as_one_that_older_releases_read() -> None:
    assert decode_member_metadata(SEVERAL.encode()) == SEVERAL
    fields = orjson.loads(SEVERAL.encode())
    assert (fields["model"], fields["version"]) == ("late", 3)
    assert "models" not in orjson.loads(METADATA.encode()), "an only model is announced as before"


@pytest.mark.parametrize(
    "models",
    [
        None,
        5,
        [],
        ["late"],
        [["late"]],
        [["late", "3"]],
        [["late", True]],
        [[1, 3]],
        [["a", 1]] * 1001,
        [["a", 1], None],
    ],
)
def test_metadata_with_invalid_models_is_not_accepted(models: object) -> None:
    fields = orjson.loads(METADATA.encode()) | {"models": models}
    assert decode_member_metadata(orjson.dumps(fields)) is None


def test_the_state_of_each_model_is_part_of_the_group_status() -> None:
    models = [
        {"name": "late", "version": 3, "blocked": None, "now": {"events_per_s": 4.0}},
        {"name": "delay", "version": 1, "blocked": "device_backlog"},
    ]
    document = {"worker": "pod-1", "health": {"live": True, "ready": True}, "models": models}
    answer = StatusResponse(decode_status(orjson.dumps(document)))
    (row,) = build_group_status(group(member(1, P, SEVERAL)), {"m1": answer}).to_dict()["workers"]
    assert row["model"] == {"name": "late", "version": 3}
    assert row["models"] == [
        {"name": "late", "version": 3, "blocked": None},
        {"name": "delay", "version": 1, "blocked": "device_backlog"},
        {"name": "price", "version": 7, "blocked": None},  # announced, but not in the answer
    ]


def test_the_open_breaker_of_one_of_several_models_is_named() -> None:
    breakers = {"model:late": "closed", "model:delay": "open", "model:price:7": "half_open", "cluster": "open"}
    status = build_group_status(group(member(1, P, SEVERAL)), {"m1": response("pod-1", breakers=breakers)})
    assert status.workers[0].reason == (
        "circuit breaker of the model delay and the model price v7 and the cluster is not closed"
    )


def member(number: int, partitions: list[TopicPartition], metadata: WorkerMetadata | None = METADATA) -> Member:
    return Member(
        member_id=f"m{number}",
        client_id="forebay",
        host="/10.0.0.9",
        user_data=b"" if metadata is None else metadata.encode(),
        partitions=tuple(partitions),
    )


def group(*members: Member) -> GroupSnapshot:
    ends = dict.fromkeys(P, 100)
    return GroupSnapshot(
        group_id="g",
        state="Stable",
        members=members,
        committed={partition: 90 for partition in P[:4]} | {P[4]: None},
        ends=ends,
    )


def response(worker: str, **health: object) -> StatusResponse:
    healthy = {
        "live": True,
        "ready": True,
        "reasons": [],
        "breakers": {"model": "closed"},
        "cluster": "ok",
        "paused": False,
    }
    document = {"worker": worker, "health": healthy | health, "now": {"events_per_s": 5.0}}
    return StatusResponse(decode_status(orjson.dumps(document)))


def test_members_and_their_responses_are_joined() -> None:
    other = WorkerMetadata(worker="pod-2", url="http://10.0.0.2:8080", models=(ModelRef("late", 4),), release="0.1.0")
    off = WorkerMetadata(worker="pod-3", url=None, models=(ModelRef("late", 4),), release="0.1.0")
    snapshot = group(member(1, P[:2]), member(2, P[2:3], other), member(3, P[3:4], off), member(4, [], None))
    assert admin_urls(snapshot) == {"m1": "http://10.0.0.1:8080", "m2": "http://10.0.0.2:8080"}
    status = build_group_status(snapshot, {"m1": response("pod-1"), "m2": StatusResponse(None, "no answer within 2 s")})
    assert [(row.name, row.health, row.lag) for row in status.workers] == [
        ("forebay", "unknown", 0),
        ("pod-1", "ready", 20),
        ("pod-2", "unreachable", 10),
        ("pod-3", "unknown", 10),
    ]
    assert status.healthy
    assert status.without_owner == (P[4],)
    assert status.lag is None  # the group has no offset in the last one
    document = status.to_dict()
    assert document["partitions"][0] == {
        "topic": "features",
        "partition": 0,
        "committed": 90,
        "end": 100,
        "lag": 10,
        "worker": "pod-1",
    }
    assert document["partitions"][4]["worker"] is None


def test_a_response_of_another_worker_is_not_accepted() -> None:
    """For example, on each of two machines a worker listens on the loopback."""
    (row,) = build_group_status(group(member(1, P)), {"m1": response("another-worker")}).workers
    assert row.health == "unreachable" and "another worker" in str(row.reason)


@pytest.mark.parametrize(
    ("health", "word", "healthy"),
    [
        ({}, "ready", True),
        ({"paused": True}, "paused", True),
        ({"live": False}, "stuck", False),
        ({"ready": False, "reasons": ["draining"]}, "not ready", False),
        ({"breakers": {"model": "open", "cluster": "closed"}}, "degraded", False),
        ({"cluster": "failing"}, "degraded", False),
        ({"waiting_for_schemas": ["t-0 waits at offset 7 for schema id 5"]}, "degraded", False),
    ],
)
def test_health_in_a_word(health: dict[str, object], word: str, healthy: bool) -> None:
    status = build_group_status(group(member(1, P)), {"m1": response("pod-1", **health)})
    assert status.workers[0].health == word
    assert status.healthy is healthy


def test_the_reasons_of_a_worker_are_bounded() -> None:
    reasons = ["x" * 1000] * 1000
    (row,) = build_group_status(group(member(1, P)), {"m1": response("pod-1", ready=False, reasons=reasons)}).workers
    assert len(row.reason or "") == MAX_REASON_CHARS and (row.reason or "").endswith("…")


def test_a_group_without_workers_is_not_healthy() -> None:
    assert not build_group_status(group(), {}).healthy


def test_partitions_are_formatted_as_ranges() -> None:
    assert format_partitions([P[0], P[1], P[2], P[4], TopicPartition("more", 7)]) == "features 0-2,4 more 7"
    assert format_partitions([]) == ""
    assert lag_of(group(), P[:2]) == 20


@given(st.binary(), st.binary() | st.just(b"\0\0\0\0\0\1\xff\xff\0\0\0\1\0\0\0\0\0\0\0\0"))
def test_decoding_invalid_bytes_of_a_member_never_raises(metadata: bytes, assignment: bytes) -> None:
    member = decode_member("m1", client_id="forebay", host="/10.0.0.9", metadata=metadata, assignment=assignment)
    assert all(isinstance(partition.topic, str) for partition in member.partitions)


HEALTHY = b'{"worker":"w","health":{"live":true,"ready":true}}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"worker":"w"}',
        HEALTHY.replace(b'"w"', b"5"),
        HEALTHY.replace(b"true", b'"yes"'),
        HEALTHY.replace(b"{", b'{"now":5,', 1),
        HEALTHY.replace(b"{", b'{"now":{"events_per_s":"many"},', 1),
        HEALTHY.replace(b"{", b'{"now":{"events_per_s":1e999},', 1),
        HEALTHY.replace(b"{", b'{"now":{"events_per_s":1' + b"0" * 400 + b"},", 1),
        HEALTHY.replace(b"{", b'{"uptime_s":[],', 1),
        HEALTHY.replace(b"{", b'{"history":' + b"[" * 100_000, 1),
        HEALTHY.replace(b'"live"', b'"reasons":[1],"live"'),
        HEALTHY.replace(b'"live"', b'"reasons":"no","live"'),
        HEALTHY.replace(b'"live"', b'"breakers":[["model","open"]],"live"'),
        HEALTHY.replace(b'"live"', b'"breakers":{"model":{}},"live"'),
        HEALTHY.replace(b"{", b'{"models":{},', 1),
        HEALTHY.replace(b"{", b'{"models":[{"name":"m"}],', 1),
        HEALTHY.replace(b"{", b'{"models":[{"name":"m","version":1,"blocked":5}],', 1),
    ],
)
def test_a_status_with_other_types_is_not_accepted(body: bytes) -> None:
    assert decode_status(HEALTHY) is not None
    assert decode_status(body) is None
