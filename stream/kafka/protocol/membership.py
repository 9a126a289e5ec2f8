"""Checks that a commit is made under a membership that the group still accepts."""

from __future__ import annotations

from aiokafka import errors as kafka_errors

from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.records import Epoch

FENCED_INSTANCE_ID = 82
_MEMBERSHIP_ERRORS = {
    kafka_errors.IllegalGenerationError.errno,
    kafka_errors.UnknownMemberIdError.errno,
    kafka_errors.RebalanceInProgressError.errno,
    FENCED_INSTANCE_ID,
}


def require_membership(epoch: Epoch) -> None:
    """Raise CommitRefused for an epoch without a generation, which Kafka would accept without fencing."""
    if epoch.generation < 0 or not epoch.member_id:
        raise CommitRefused("the records were read outside any generation of the group")


def raise_if_refused(error_code: int) -> None:
    """Raise CommitRefused if the error code says that the membership has ended."""
    if error_code in _MEMBERSHIP_ERRORS:
        raise CommitRefused(f"the group refused the offsets: {_name(error_code)}")


def _name(error_code: int) -> str:
    if error_code == FENCED_INSTANCE_ID:
        return "FencedInstanceId: another member has joined with the same kafka.group_instance_id"
    return str(kafka_errors.for_code(error_code).__name__)
