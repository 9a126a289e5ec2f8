"""The assembly of the audit: the recorder of a worker, with its key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.stream.access.policy_history import PolicyHistory
from forebay.stream.audit.chain import MAX_METADATA_BYTES, METADATA_ROOM
from forebay.stream.audit.chain_writer import ChainWriter, CheckpointPolicy
from forebay.stream.audit.signing import load_signer, load_trusted_keys
from forebay.stream.config.audit_section import AuditSection
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import OutputTopics
from forebay.stream.core.time_format import duration
from forebay.stream.pipeline.audit_recorder import AuditRecorder
from forebay.stream.pipeline.audit_rows import AuditContent
from forebay.stream.pipeline.audited_access import AuditedAccess, principal_hash
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.preflight import Check, Status
from forebay.stream.rollouts.offset_metadata import MAX_WINDOW_BYTES

MIN_KEY_BYTES: Final = 16


def build_audit(
    settings: Settings,
    outputs: OutputTopics,
    *,
    worker: str,
    clock: Clock,
    switches: SwitchLedger | None,
    access: PolicyHistory | None,
) -> AuditRecorder | None:
    """Build the recorder; None if the audit is not enabled.

    worker: instance id. switches: None without rollouts. access: None without rules.

    Raises ConfigError if a key cannot be used, or if heads of chains do not fit into the metadata of an offset.
    """
    section, topic = settings.audit, outputs.audit
    if not section.enabled or topic is None:
        return None
    _require_room(settings)
    chains = ChainWriter(
        settings.kafka.group_id,
        worker=worker,
        signer=None if section.signing_key is None else load_signer(section.signing_key),
        policy=CheckpointPolicy(section.checkpoint_rows, section.checkpoint_interval_ms),
        max_bytes=topic.max_bytes,
    )
    content = AuditContent(
        section.event_ids,
        input_digests=section.digests in ("input", "both"),
        output_digests=section.digests in ("output", "both"),
    )
    return AuditRecorder(
        chains,
        topic,
        content,
        clock=clock,
        access=None if access is None else AuditedAccess(access, principal_text(section)),
        **({} if switches is None else {"revisions": switches.recorded}),
    )


def principal_text(section: AuditSection) -> Callable[[str], str]:
    """Return the function that returns a principal as it is recorded. Raises ConfigError if its key cannot be used."""
    if section.principals == "name":
        return str
    key = principal_key(section) if section.principals == "hash" else None
    return (lambda _name: "") if key is None else functools.partial(principal_hash, key)


def recorded_principals(section: AuditSection, name: str) -> frozenset[str]:
    """Return the forms in which a principal may be recorded: as it is given, and hashed if the key is here.

    Raises ConfigError if the key cannot be used.
    """
    key = principal_key(section)
    return frozenset((name,) if key is None else (name, principal_hash(key, name)))


def principal_key(section: AuditSection) -> bytes | None:
    """Return the key of hashed principals; None if there is none. Raises ConfigError if it cannot be used."""
    path = section.principal_key_file
    if path is None:
        return None
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"audit.principal_key_file: cannot read {path}: {error.strerror}",
            kind="audit_key",
            remedy="correct the path or the permissions of the file",
        ) from None
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            f"audit.principal_key_file: {path} has {len(key)} bytes; a key needs at least {MIN_KEY_BYTES}",
            kind="audit_key",
            remedy="make one with `openssl rand -hex 32`",
        )
    return key


def check_audit(settings: Settings) -> Check | None:
    """Say what the audit of this configuration shows, and what it does not; None if it is not enabled."""
    section = settings.audit
    if not section.enabled:
        return None
    try:
        _require_room(settings)
        key_id = None if section.signing_key is None else load_signer(section.signing_key).key_id
        keys = load_trusted_keys(section.public_keys)
        principal_text(section)
    except ConfigError as error:
        return Check("audit", Status.FAILED, error.message, error.remedy)
    if key_id is None:
        return Check(
            "audit",
            Status.WARNING,
            "every outcome is recorded, and checkpoints are not signed: a user who may write to the topic and commit the "
            "group's offsets can replace a chain",
            "set audit.signing_key to a file with a key: openssl genpkey -algorithm ed25519 -out audit.pem",
        )
    if len(keys) and key_id not in keys:
        return Check(
            "audit",
            Status.WARNING,
            f"checkpoints are signed with key {key_id}, which is not among audit.public_keys: others cannot verify them",
            "add its public key: openssl pkey -in audit.pem -pubout -out audit.pub",
        )
    interval = duration(section.checkpoint_interval_ms) if section.checkpoint_interval_ms else "block"
    return Check(
        "audit",
        Status.OK,
        f"every outcome is recorded, signed with key {key_id} each {interval} or {section.checkpoint_rows:,} outcomes; not "
        "found: what a worker itself reports wrongly, and outcomes after the last commit",
    )


def _require_room(settings: Settings) -> None:
    served = settings.models_to_serve()
    revisions = sum(len(entry.model.name) + 12 for entry in served) + 20 if settings.rollouts.enabled else 0
    windows = MAX_WINDOW_BYTES if any(entry.window.kind != "none" for entry in served) else 0
    if revisions + windows + METADATA_ROOM > MAX_METADATA_BYTES:
        raise ConfigError(
            f"the heads of the audit do not fit into the metadata of an offset, beside the revisions of {len(served)} models",
            kind="too_many_rollout_models",
            remedy="serve fewer models in one worker, or set audit.enabled = false or rollouts.enabled = false",
        )
