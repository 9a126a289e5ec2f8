"""Which failed commits end a process: permanent failures in a row, and repeated fencing."""

from __future__ import annotations

import logging

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
from forebay.stream.kafka.producer.commit_failures import MAX_FAILURES, MAX_FENCINGS, CommitWords, FailureLimits
from forebay.stream.kafka.producer.producer import explain_refusal

LASTING = [MessageSizeTooLargeError("too large"), OutputMissing("the cluster has no topic predictions any more")]


def limits_of_a_worker() -> FailureLimits:
    words = CommitWords("worker", "the same outputs", remedy="check the topics")
    return FailureLimits(explain_refusal, words, log=logging.getLogger("forebay.commit"))


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_a_permanent_error_ends_the_worker_the_third_time(error: Exception) -> None:
    limits = limits_of_a_worker()
    for _ in range(MAX_FAILURES - 1):
        limits.record_failure(error, now_s=0)
    with pytest.raises(BrokerError, match=r"the same outputs 3 times \(from features-0 before offset 43\)"):
        limits.record_failure(error, now_s=0, place="from features-0 before offset 43")


def test_a_success_resets_the_count_of_permanent_errors() -> None:
    limits = limits_of_a_worker()
    for _ in range(4):
        for _ in range(MAX_FAILURES - 1):
            limits.record_failure(LASTING[0], now_s=0)
        limits.record_success()


@pytest.mark.parametrize(
    "error",
    [KafkaConnectionError("away"), CommitTimeout("late"), CommitRefused("evicted")],
    ids=lambda e: type(e).__name__,
)
def test_temporary_errors_may_repeat(error: Exception) -> None:
    limits = limits_of_a_worker()
    for now_s in range(100):
        limits.record_failure(error, now_s=now_s)


def test_repeated_fencing_names_the_cause() -> None:
    limits = limits_of_a_worker()
    for now_s in (0.0, 10.0):
        limits.record_failure(ProducerFenced(), now_s=now_s)
        limits.record_success()
    with pytest.raises(BrokerError, match="taken over 3 times within 60 s") as raised:
        limits.record_failure(ProducerFenced(), now_s=59.0)
    assert raised.value.kind == "transactional_id_in_use" and "delivery.instance_id" in str(raised.value.remedy)


def test_occasional_fencing_does_not_end_the_worker() -> None:
    limits = limits_of_a_worker()
    for number in range(5 * MAX_FENCINGS):
        limits.record_failure(ProducerFenced(), now_s=31.0 * number)


def test_a_refused_timestamp_names_the_clock_as_the_cause() -> None:
    limits, error = limits_of_a_worker(), InvalidTimestampError("predictions refused the timestamp")
    for _ in range(MAX_FAILURES - 1):
        limits.record_failure(error, now_s=0)
    with pytest.raises(BrokerError, match="predictions refused the timestamp") as caught:
        limits.record_failure(error, now_s=0)
    assert caught.value.kind == "wrong_clock"
    assert caught.value.remedy is not None and "clocks of this machine and of the brokers" in caught.value.remedy


def test_a_denied_write_names_the_topic_and_the_command_that_lists_permissions() -> None:
    limits, error = limits_of_a_worker(), TopicAuthorizationFailedError("predictions")
    for _ in range(MAX_FAILURES - 1):
        limits.record_failure(error, now_s=0)
    with pytest.raises(BrokerError, match="not allowed: WRITE on the topic predictions") as caught:
        limits.record_failure(error, now_s=0)
    assert caught.value.kind == "authorization" and "forebay acls" in str(caught.value.remedy)
