"""Blocks: the outcomes that one commit has for one input partition, as columns in JSON.

The digest of a block is that of its bytes, so nothing has to be written again in the same way to verify it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from forebay.schemas.audit import AUDIT_FORMAT
from forebay.schemas.errors import DataError
from forebay.stream.audit.chain import ChainHead, ChainName
from forebay.stream.audit.int_column import Ints, decode_ints, encode_ints
from forebay.stream.core.model_ref import ModelRef

NO_ROW: Final = -1
MAX_ROWS: Final = 65_536
"""Rows of a block at most. The size of a record does not limit them: equal steps are one number for any number of rows."""
_MAX_INT: Final = 2**63 - 1
_INTS: Final = ("offset", "row", "count", "event_ms", "outcome", "model", "principal", "denial")
_TABLES: Final = (("outcome", "outcomes"), ("model", "models"), ("principal", "principals"), ("denial", "denials"))
_DIGESTS: Final = ("input_sha256", "output_sha256")


@dataclass(frozen=True, slots=True)
class AuditRows:
    """Rows of a block, by position. Each is an outcome of records, or of a window.

    offset_N: position in the input partition; the last one of a row that stands for several records.
    row_N: row of the record, or NO_ROW if the record is one event.
    count_N: number of records that the row stands for; 0 for a window.
    event_ms_N: event time, or the record's timestamp for what is not an event; -1 if unknown.
    outcome_N, model_N, principal_N, denial_N: indices into the lists below.
    principals: hashed or by name; "" for none. denials: why events are denied; "" for all others.
    ids: ids of the events; "" if unknown. None if they are not recorded.
    digests: by name ("input_sha256", "output_sha256"), by row, in hexadecimal; "" for none.
    """

    offset_N: Ints
    row_N: Ints
    count_N: Ints
    event_ms_N: Ints
    outcome_N: Ints
    model_N: Ints
    principal_N: Ints
    denial_N: Ints
    outcomes: Sequence[str]
    models: Sequence[ModelRef]
    principals: Sequence[str] = ("",)
    denials: Sequence[str] = ("",)
    ids: Sequence[str] | None = None
    digests: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offset_N)

    def take(self, rows: slice | Ints) -> AuditRows:
        """Return some of the rows."""
        chosen = np.arange(len(self))[rows].tolist()
        ints: dict[str, Any] = {f"{name}_N": getattr(self, f"{name}_N")[rows] for name in _INTS}
        # There may be as many principals as rows, so each block has only its own.
        used, ints["principal_N"] = np.unique(ints["principal_N"], return_inverse=True)
        return AuditRows(
            **ints,
            outcomes=self.outcomes,
            models=self.models,
            principals=[self.principals[index] for index in used.tolist()],
            denials=self.denials,
            ids=None if self.ids is None else [self.ids[row] for row in chosen],
            digests={name: [values[row] for row in chosen] for name, values in self.digests.items()},
        )


class BlockHead(NamedTuple):
    """What a block says besides its rows.

    previous: the block before it in the chain.
    written_ms: time of the outcomes, by the worker's clock.
    first_offset, next_offset: the positions of the partition that the commit passes; None for the first if it is unknown.
    revisions: by model, the revision of its rollout after the commit.
    policy_revision: revision of the policy of access; None without one.
    key_id: id of the key that the block is signed with; None if it is not signed.
    part, parts: a commit with very many rows has several blocks.
    """

    chain: ChainName
    previous: ChainHead
    written_ms: int
    worker: str
    first_offset: int
    next_offset: int
    revisions: Mapping[str, int]
    policy_revision: str | None = None
    key_id: str | None = None
    part: int = 0
    parts: int = 1

    @property
    def sequence(self) -> int:
        """The number of the block in its chain, from 0."""
        return self.previous.sequence + 1


def encode_block(head: BlockHead, rows: AuditRows) -> bytes:
    """Return the value of the record. rows: at least one, at most MAX_ROWS."""
    columns: dict[str, object] = {name: encode_ints(getattr(rows, f"{name}_N")) for name in _INTS}
    if rows.ids is not None:
        columns["id"] = rows.ids
    columns |= rows.digests
    document = {
        "format": AUDIT_FORMAT,
        "group": head.chain.group,
        "topic": head.chain.topic,
        "partition": head.chain.partition,
        "sequence": head.sequence,
        "previous": head.previous.digest,
        "written_ms": head.written_ms,
        "worker": head.worker,
        "first_offset": head.first_offset,
        "next_offset": head.next_offset,
        "part": head.part,
        "parts": head.parts,
        "key_id": head.key_id,
        "policy_revision": head.policy_revision,
        "revisions": head.revisions,
        "models": [[ref.name, ref.version] for ref in rows.models],
        "outcomes": rows.outcomes,
        "principals": rows.principals,
        "denials": rows.denials,
        "records": int(rows.count_N.sum()),
        "rows": len(rows),
        "columns": columns,
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


class Block(NamedTuple):
    """A decoded block. records: number of records that its rows stand for; document: all of it.

    The block of an action has no rows (see `action.action_of`).
    """

    head: BlockHead
    records: int
    num_rows: int
    document: Mapping[str, Any]

    @property
    def is_action(self) -> bool:
        """Whether the block has an action instead of rows."""
        return self.head.chain.is_of_actions

    def rows(self) -> AuditRows:
        """Return the rows. Raises DataError."""
        count, document = self.num_rows, self.document
        columns = document.get("columns")
        if not isinstance(columns, dict):
            raise DataError("an audit block has no columns")
        texts = {name: columns[name] for name in ("id", *_DIGESTS) if name in columns}
        for name, values in texts.items():
            if not isinstance(values, list) or len(values) != count or not all(type(text) is str for text in values):
                raise DataError(f"the column {name} of an audit block does not have {count} texts")
        tables = {table: document.get(table) for _, table in _TABLES}
        ints: dict[str, Any] = {f"{name}_N": decode_ints(columns.get(name), count) for name in _INTS}
        for name, table in _TABLES:
            entries = tables[table]
            if not isinstance(entries, list) or ints[f"{name}_N"].min() < 0 or ints[f"{name}_N"].max() >= len(entries):
                raise DataError(f"the column {name} of an audit block has indices outside of {table}")
        return AuditRows(
            **ints,
            outcomes=[str(outcome) for outcome in tables["outcomes"] or ()],
            models=[_model(entry) for entry in tables["models"] or ()],
            principals=[str(principal) for principal in tables["principals"] or ()],
            denials=[str(denial) for denial in tables["denials"] or ()],
            ids=texts.pop("id", None),
            digests=texts,
        )


def _model(entry: object) -> ModelRef:
    if not isinstance(entry, list) or len(entry) != 2 or type(entry[0]) is not str or type(entry[1]) is not int:
        raise DataError("an audit block has a model without name and version")
    return ModelRef(entry[0], entry[1])


def decode_block(value: bytes | None) -> Block:
    """Return a block. Its rows are decoded only when they are asked for. Raises DataError if it is not one."""
    try:
        document = orjson.loads(value or b"")
        if document["format"] != AUDIT_FORMAT:
            raise DataError(
                f"the format of the audit block is {document['format']!r}; this version reads {AUDIT_FORMAT}"
            )
        ints = [
            document[name] for name in ("partition", "sequence", "written_ms", "first_offset", "next_offset", "part")
        ]
        ints += [document[name] for name in ("parts", "records", "rows")]
        texts = [document[name] for name in ("group", "topic", "previous", "worker")]
        revisions = dict(document["revisions"])
        if not all(type(number) is int and 0 <= number <= _MAX_INT for number in (*ints, *revisions.values())):
            raise TypeError
        if not all(type(text) is str for text in texts):
            raise TypeError
        partition, sequence, written_ms, first_offset, next_offset, part, parts, records, num_rows = ints
        group, topic, previous, worker = texts
        key_id, policy = document["key_id"], document["policy_revision"]
        if type(key_id) not in (str, type(None)) or type(policy) not in (str, type(None)) or num_rows < 1:
            raise TypeError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError("the record is not an audit block") from None
    if num_rows > MAX_ROWS:
        raise DataError(f"the audit block claims {num_rows:,} rows; a block has at most {MAX_ROWS:,}")
    head = BlockHead(
        ChainName(group, topic, partition),
        ChainHead(sequence - 1, previous),
        written_ms=written_ms,
        worker=worker,
        first_offset=first_offset,
        next_offset=next_offset,
        revisions=revisions,
        policy_revision=policy,
        key_id=key_id,
        part=part,
        parts=parts,
    )
    return Block(head, records, num_rows, document)
