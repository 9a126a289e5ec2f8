"""Errors that the Kafka adapters and the pipeline both raise or handle."""

from __future__ import annotations

from forebay.schemas.errors import BrokerError, ForebayError


class CommitTimeout(ForebayError):
    """A commit missed its deadline. Whether it happened is unknown until the committed offsets are read again."""

    default_kind = "commit_timeout"


class CommitRefused(BrokerError):
    """The group no longer accepts this membership: records read under it are read again by the partitions' new owner."""

    default_kind = "commit_refused"


class CommitUnknown(BrokerError):
    """A commit of offsets outside a transaction had no answer: it may take effect later, until the membership has ended."""

    default_kind = "commit_unknown"


class TopicRecreated(BrokerError):
    """An input topic was deleted and created again: positions in the old one must not be committed for the new one."""

    default_kind = "topic_recreated"


class OutputMissing(BrokerError):
    """An output topic does not exist: commits cannot succeed until it is created again."""

    default_kind = "output_missing"
