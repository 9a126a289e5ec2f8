"""Actions are blocks in the chain of a process: what is done to them is found, and they count as no outcomes."""

from __future__ import annotations

import orjson
import pytest
from jsonschema import Draft202012Validator

from forebay.schemas.definitions import definitions
from forebay.schemas.errors import DataError
from forebay.schemas.headers import AUDIT_SHA256
from forebay.stream.audit.action import Action, ActionChain, action_of
from forebay.stream.audit.block import decode_block
from forebay.stream.audit.chain import Place, block_digest
from forebay.stream.audit.chain_writer import CheckpointPolicy
from forebay.stream.audit.filter import AuditFilter
from forebay.stream.audit.signing import Signer
from forebay.stream.audit.tally import OutcomeTally
from forebay.stream.audit.verifier import ChainVerifier, Finding
from tests.audit.build import Stored, chain, keys, private_key

PAUSE = Action("pause", "ann@host", "10.0.0.7", {"worker": "w1"})


def actions(count: int, *, key: int | None = 0) -> list[Stored]:
    chain = ActionChain("forebay", "w1-5eed", signer=None if key is None else Signer(private_key(key)))
    return [Stored(*chain.seal(PAUSE._replace(origin=str(number)), now_ms=number)) for number in range(count)]


def findings(stored: list[Stored]) -> list[Finding]:
    verifier = ChainVerifier({0: 0}, keys=keys(0), policy=CheckpointPolicy(1, 0))
    for offset, record in enumerate(stored):
        verifier.add(Place(0, offset), record.key, record.value, record.headers)
    return verifier.finish()


def test_an_action_is_what_was_written() -> None:
    (stored,) = actions(1)
    block = decode_block(stored.value)
    assert action_of(block) == PAUSE._replace(origin="0") and block.head.worker == "w1-5eed"
    (row,) = AuditFilter().actions(block)
    assert (row["action"], row["actor"], row["at_ms"], row["details"]) == ("pause", "ann@host", 0, {"worker": "w1"})
    assert list(AuditFilter(since_ms=1).actions(block)) == []
    Draft202012Validator(definitions()["audit"]).validate(orjson.loads(stored.value))


def test_actions_and_outcomes_are_apart() -> None:
    (stored,), (outcomes, *_) = actions(1), chain(1)[0]
    tally = OutcomeTally()
    tally.add(decode_block(stored.value))
    assert not tally.outcomes and not tally.records
    assert list(AuditFilter().select(decode_block(stored.value))) == []
    assert list(AuditFilter().actions(decode_block(outcomes.value))) == []


def test_what_is_done_to_actions_is_found() -> None:
    assert findings(actions(5)) == [] and findings(actions(5, key=None)) == []
    for number in range(4):
        kept = actions(5)
        del kept[number]
        assert [(found.kind, found.sequence) for found in findings(kept)] == [("deleted", number)]
    changed = actions(3)
    value = changed[1].value.replace(b"ann@host", b"eve@host")
    headers = [(AUDIT_SHA256, block_digest(value).encode()), *changed[1].headers[1:]]
    changed[1] = Stored(changed[1].key, value, headers)
    assert {found.kind for found in findings(changed)} == {"changed"}
    assert {found.kind for found in findings(actions(3, key=1))} == {"unsigned"}  # by a key that is not trusted


@pytest.mark.parametrize("action", [None, {}, {"name": 1, "actor": "a", "origin": "", "details": {}}])
def test_an_action_without_its_fields_is_refused(action: object) -> None:
    value = orjson.dumps({**orjson.loads(actions(1)[0].value), "action": action})
    with pytest.raises(DataError, match="action"):
        action_of(decode_block(value))


def test_details_that_cannot_be_shown_are_refused() -> None:
    document = {**orjson.loads(actions(1)[0].value), "action": None}
    nested = b'{"name": "a", "actor": "b", "origin": "", "details": {"x": ' + b"[" * 500 + b"]" * 500 + b"}}"
    with pytest.raises(DataError, match="nested too deeply"):
        action_of(decode_block(orjson.dumps(document).replace(b'"action":null', b'"action":' + nested)))
