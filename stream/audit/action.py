"""Actions of operators and processes: each is a block in the chain of the process that took it.

No offset is committed with an action, so the end of such a chain is not protected against being cut off. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from forebay.schemas.audit import AUDIT_FORMAT
from forebay.schemas.errors import DataError
from forebay.schemas.headers import AUDIT_SHA256, AUDIT_SIGNATURE
from forebay.stream.audit.block import Block
from forebay.stream.audit.chain import ACTIONS, BEFORE_FIRST, ChainHead, ChainName, block_digest
from forebay.stream.audit.chain_writer import SealedBlock
from forebay.stream.audit.signing import Signer

MAX_TEXT: Final = 256


class Action(NamedTuple):
    """What was done.

    name: such as `pause`.
    actor: who did it, as far as the process knows.
    origin: where the request came from: an address or a host; "" if it is unknown.
    details: as JSON.
    """

    name: str
    actor: str
    origin: str
    details: Mapping[str, Any]


class ActionChain:
    """The chain of one process, from its start to its end. process: different for each start."""

    def __init__(self, group: str, process: str, *, signer: Signer | None) -> None:
        self._name = ChainName(group, ACTIONS + process, 0)
        self._process = process
        self._signer = signer
        self._head = BEFORE_FIRST

    def seal(self, action: Action, *, now_ms: int) -> SealedBlock:
        """Return the next block. Every block is signed if there is a key."""
        number = self._head.sequence + 1
        value = orjson.dumps(
            {
                "format": AUDIT_FORMAT,
                "group": self._name.group,
                "topic": self._name.topic,
                "partition": 0,
                "sequence": number,
                "previous": self._head.digest,
                "written_ms": now_ms,
                "worker": self._process,
                "first_offset": 0,
                "next_offset": 0,
                "part": 0,
                "parts": 1,
                "key_id": None if self._signer is None else self._signer.key_id,
                "policy_revision": None,
                "revisions": {},
                "records": 0,
                "rows": 1,
                "action": {
                    "name": action.name,
                    "actor": action.actor[:MAX_TEXT],
                    "origin": action.origin[:MAX_TEXT],
                    "details": action.details,
                },
            }
        )
        digest = block_digest(value)
        headers = [(AUDIT_SHA256, digest.encode())]
        if self._signer is not None:
            headers.append((AUDIT_SIGNATURE, self._signer.sign(digest)))
        self._head = ChainHead(number, digest)
        return SealedBlock(str(self._name).encode(), value, headers)


def action_of(block: Block) -> Action | None:
    """Return the action of a block; None for a block of outcomes. Raises DataError for one that cannot be read."""
    if not block.is_action:
        return None
    found = block.document.get("action")
    try:
        texts = [found[name] for name in ("name", "actor", "origin")]  # type: ignore[index]  # checked by the except
        details = found["details"]  # type: ignore[index]
    except (KeyError, TypeError):
        raise DataError("an audit block has an action without its fields") from None
    if not all(type(text) is str for text in texts) or not isinstance(details, dict):
        raise DataError("an audit block has an action with fields of other types")
    try:
        orjson.dumps(details)
    except TypeError:  # orjson reads what it does not write
        raise DataError("an audit block has an action whose details are nested too deeply") from None
    name, actor, origin = texts
    return Action(name, actor, origin, details)
