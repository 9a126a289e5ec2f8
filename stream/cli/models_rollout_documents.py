"""Revisions of a rollout as JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from forebay.stream.core.time_format import rfc3339
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.revision_log import Entry


def revision_document(revision: Revision) -> dict[str, Any]:
    """Return a revision as JSON values, with the weights of the canaries in percent added."""
    document: dict[str, Any] = msgspec.to_builtins(revision, str_keys=True)
    for canary, described in zip(revision.canaries, document["canaries"], strict=True):
        described["weight"] = canary.weight
    document["created"] = rfc3339(revision.created_ms) if revision.created_ms else None
    return document


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return a record of the topic `rollouts` as JSON values."""
    place = {"accepted": entry.accepted, "offset": entry.offset, "timestamp_ms": entry.timestamp_ms}
    return revision_document(entry.revision) | place
