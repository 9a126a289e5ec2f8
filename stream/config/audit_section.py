"""Settings of the audit: whether workers write every outcome into chains of hashes, and how the chains are signed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forebay.stream.config.section import Section
from forebay.stream.config.values import Path, Paths

DAY_MS = 86_400_000


class AuditSection(Section):
    """Audit: what became of each record, in chains of blocks that `forebay audit verify` checks."""

    enabled: bool = Field(
        default=False,
        description="Write the outcome of each record to the topic audit, which `forebay topics create` creates, in the "
        "transaction of the predictions. Needs delivery.processing_guarantee = exactly_once.",
    )
    event_ids: bool = Field(
        default=True,
        description="Record the ids of the events, besides their positions. Turn it off if ids identify people.",
    )
    digests: Literal["none", "input", "output", "both"] = Field(
        default="none",
        description="Record SHA-256 of each event's value, of the model's outputs, or of both.",
    )
    principals: Literal["hash", "name", "none"] = Field(
        default="hash",
        description="With access.enabled: record who asked, as a hash that only holders of audit.principal_key_file can "
        "compute (HMAC-SHA-256), by name, or not at all.",
    )
    principal_key_file: Path | None = Field(
        default=None,
        description="A file with the secret key of hashed principals, of at least 16 bytes, the same for all workers. "
        "With it, `forebay audit show --principal` takes names.",
    )
    signing_key: Path | None = Field(
        default=None,
        description="A file with the private key that signs checkpoints, in PEM: Ed25519 or ECDSA, without a password. Workers "
        "need it; users who verify should not have it. Needs the extra security.",
    )
    public_keys: Paths = Field(
        default=(),
        description="Files with public keys in PEM whose signatures `forebay audit verify` accepts, besides that of "
        "audit.signing_key: also the keys that were in use before.",
    )
    checkpoint_rows: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000_000,
        description="Sign a block at the latest after this number of outcomes of a partition.",
    )
    checkpoint_interval_ms: int = Field(
        default=1_000,
        ge=0,
        le=DAY_MS,
        description="Sign a block at the latest when the last signature of its partition is this old; 0 signs each block.",
    )
    retention_ms: int = Field(
        default=365 * DAY_MS,
        ge=-1,
        le=100 * 365 * DAY_MS,
        description="How long `forebay topics create` makes the topic audit keep its records, in ms; -1 for ever.",
    )
