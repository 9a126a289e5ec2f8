"""Which failed commits end the worker."""

from __future__ import annotations

import pytest
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)

from forebay.schemas.errors import BrokerError
from forebay.stream.core.errors import CommitRefused, CommitTimeout, OutputMissing
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.kafka.producer.producer import explain_refusal
from forebay.stream.pipeline.commit_failures import MAX_FAILURES, MAX_FENCINGS, CommitFailures
from tests.core.build import chunk, finish

FIRST: BatchResult = finish(MicroBatch(0, (chunk(range(40, 43)),), "size", 0.0))
LASTING = [MessageSizeTooLargeError("too large"), OutputMissing("the cluster has no topic predictions any more")]


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_a_permanent_error_ends_the_worker_the_third_time(error: Exception) -> None:
    refusals = CommitFailures(explain_refusal)
    for _ in range(MAX_FAILURES - 1):
        refusals.record_failure(error, FIRST, now_s=0)
    with pytest.raises(BrokerError, match=r"the same outputs 3 times \(from features-0 before offset 43\)"):
        refusals.record_failure(error, FIRST, now_s=0)


def test_a_success_resets_the_count_of_permanent_errors() -> None:
    refusals = CommitFailures(explain_refusal)
    for _ in range(4):
        for _ in range(MAX_FAILURES - 1):
            refusals.record_failure(LASTING[0], FIRST, now_s=0)
        refusals.record_success()


@pytest.mark.parametrize(
    "error",
    [KafkaConnectionError("away"), CommitTimeout("late"), CommitRefused("evicted")],
    ids=lambda e: type(e).__name__,
)
def test_temporary_errors_may_repeat(error: Exception) -> None:
    refusals = CommitFailures(explain_refusal)
    for now_s in range(100):
        refusals.record_failure(error, FIRST, now_s=now_s)


def test_repeated_fencing_names_the_cause() -> None:
    refusals = CommitFailures(explain_refusal)
    for now_s in (0.0, 10.0):
        refusals.record_failure(ProducerFenced(), FIRST, now_s=now_s)
        refusals.record_success()
    with pytest.raises(BrokerError, match="taken over 3 times within 60 s") as raised:
        refusals.record_failure(ProducerFenced(), FIRST, now_s=59.0)
    assert raised.value.kind == "transactional_id_in_use" and "delivery.instance_id" in str(raised.value.remedy)


def test_occasional_fencing_does_not_end_the_worker() -> None:
    refusals = CommitFailures(explain_refusal)
    for number in range(5 * MAX_FENCINGS):
        refusals.record_failure(ProducerFenced(), FIRST, now_s=31.0 * number)


def test_a_refused_timestamp_names_the_clock_as_the_cause() -> None:
    refusals, error = CommitFailures(explain_refusal), InvalidTimestampError("predictions refused the timestamp")
    for _ in range(MAX_FAILURES - 1):
        refusals.record_failure(error, FIRST, now_s=0)
    with pytest.raises(BrokerError, match="predictions refused the timestamp") as caught:
        refusals.record_failure(error, FIRST, now_s=0)
    assert caught.value.kind == "wrong_clock"
    assert caught.value.remedy is not None and "clocks of this machine and of the brokers" in caught.value.remedy


def test_a_denied_write_names_the_topic_and_the_command_that_lists_permissions() -> None:
    refusals, error = CommitFailures(explain_refusal), TopicAuthorizationFailedError("predictions")
    for _ in range(MAX_FAILURES - 1):
        refusals.record_failure(error, FIRST, now_s=0)
    with pytest.raises(BrokerError, match="not allowed: WRITE on the topic predictions") as caught:
        refusals.record_failure(error, FIRST, now_s=0)
    assert caught.value.kind == "authorization" and "forebay acls" in str(caught.value.remedy)
