"""The aggregator's topics as the cluster has them, and what they must be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import BrokerError


@dataclass(frozen=True, slots=True)
class Found:
    """A topic that is there. cleanup_policy: None where the cluster does not tell."""

    num_partitions: int
    cleanup_policy: str | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Names with the prefix. num_aggregates: partitions of error-aggregates."""

    deltas: str
    changelog: str
    aggregates: str
    alerts: str
    num_aggregates: int


def judge(deltas: str, changelog: str, found: Mapping[str, Found]) -> None:
    """Raises BrokerError where counting would go wrong."""
    if found[deltas].num_partitions != found[changelog].num_partitions:
        raise BrokerError(
            f"topic {changelog} has {found[changelog].num_partitions} partitions and {deltas} has "
            f"{found[deltas].num_partitions}; both must have the same number",
            kind="partition_counts",
            remedy=f"delete {changelog}: `forebay aggregate` makes it anew, and counts the deltas again that are still there",
        )
    policy = found[changelog].cleanup_policy
    if policy is not None and policy != "compact":
        raise BrokerError(
            f"topic {changelog}: cleanup.policy is {policy}: what was counted would be lost after a time",
            kind="not_compacted",
            remedy=f"kafka-configs --alter --topic {changelog} --add-config cleanup.policy=compact",
        )
    policy = found[deltas].cleanup_policy
    if policy is not None and "compact" in policy:
        raise BrokerError(
            f"topic {deltas}: cleanup.policy is {policy}: counts would be removed that were not added up yet",
            kind="compacted",
            remedy=f"kafka-configs --alter --topic {deltas} --add-config cleanup.policy=delete",
        )
