"""A workload of the proof with everything on that protects events: tokens and rules, encrypted fields, and the audit.

Events have the token of a principal, and their features are one encrypted field. In place of garbage, some are denied, and
some have the features of another event. Predictions are encrypted. After the count, `forebay audit verify --counts` must find
nothing, and the audit must have one row for each event, with its outcome and its principal.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from aiokafka import ConsumerRecord
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from forebay.schemas.headers import PRINCIPAL
from forebay.stream.audit.block import decode_block
from forebay.stream.audit.filter import AuditFilter
from forebay.stream.cli.audit_verify import verify_audit
from forebay.stream.config.sections import Settings
from forebay.stream.encryption.documents import DocumentOpener, DocumentSealer
from forebay.stream.encryption.keyring import format_keyring
from tests.access.issuer import key_set, sign
from tests.audit.build import private_key
from tests.encryption.build import CIPHERS, KEYRING, sealer
from tests.exactness.checker import Counts, Place, check, none_of
from tests.exactness.feed import GARBAGE_EVERY, ID_HEADER, KEYS, KIND_HEADER, Author, Feed, FeedEvent
from tests.worker.echo import NUM_FEATURES
from tests.worker.harness import OUTPUTS, WorkerGroup

YEAR_2100_S: Final = 4_102_444_800
PRINCIPALS: Final = ("team-a/ann", "team-a/bob", "team-b/cem")
FAULTS: Final = ("rule", "no_token", "signature", "moved")
"""What is wrong with the events that are in place of garbage: the reason of a denial, or features of another event."""
DENIED, MOVED, AUDITED = "denied", "undecryptable", "audit"


class _Expected(NamedTuple):
    """What the audit must say about an event."""

    outcome: str
    principal: str | None
    denial: str | None


class TrustedAuthor:
    """Makes up encrypted events with tokens, some of them denied or with the features of another event. topic: full name."""

    def __init__(self, rng: random.Random, partitions: int, topic: str) -> None:
        self._random = rng
        self._numpy = np.random.default_rng(rng.randrange(1 << 32))
        self._partitions = partitions
        self._sealer = DocumentSealer(topic, ["features"], id_field="id")
        self._tokens = {name: sign("EdDSA", sub=name, topics=[topic], exp=YEAR_2100_S) for name in (*PRINCIPALS, "eve")}
        header, claims, signature = self._tokens[PRINCIPALS[0]].split(b".")
        self._forged = b".".join((header, claims, signature[::-1]))
        self._num_events = 0
        self.expected: dict[str, _Expected] = {}

    def write(self, count: int, now_ms: int) -> Iterator[FeedEvent]:
        """Yield events with this timestamp."""
        rows = self._numpy.normal(size=(count, NUM_FEATURES)).astype(np.float32).tolist()
        keys = [self._random.randrange(KEYS) for _ in rows]
        ids = [f"{key}/{self._num_events + index:09d}" for index, key in enumerate(keys)]
        self._num_events += count
        documents = [
            orjson.dumps({"id": event_id, "timestamp": now_ms, "features": row})
            for event_id, row in zip(ids, rows, strict=True)
        ]
        values = self._sealer.seal(documents, sealer("ab"[self._num_events // count % 2]))
        for index, (event_id, key, value) in enumerate(zip(ids, keys, values, strict=True)):
            principal = self._random.choice(PRINCIPALS)
            token: bytes | None = self._tokens[principal]
            expected, headers = _Expected("predicted", principal, None), []
            if self._random.randrange(GARBAGE_EVERY) == 0:
                fault = self._random.choice(FAULTS)
                expected = _Expected(DENIED, None, fault)
                if fault == "moved":
                    expected = _Expected(MOVED, principal, None)
                    value = orjson.dumps(orjson.loads(values[index - 1]) | {"id": event_id})
                elif fault == "rule":
                    token, expected = self._tokens["eve"], expected._replace(principal="eve")
                else:
                    token = None if fault == "no_token" else self._forged
                headers = [(ID_HEADER, event_id.encode()), (KIND_HEADER, expected.outcome.encode())]
            self.expected[event_id] = expected
            if token is not None:
                headers.append((PRINCIPAL, token))
            yield FeedEvent(
                event_id, "features", key % self._partitions, key=b"key-%d" % key, value=value, headers=headers
            )


class Trusted:
    """A model whose events need tokens and are encrypted, with the audit. prefix: of the topics; folder: for the keys."""

    inputs: tuple[str, ...] = ("features",)
    outputs = (*OUTPUTS, AUDITED)

    def __init__(self, prefix: str, folder: Path) -> None:
        self._topics = {name: f"{prefix}-{name}" for name in ("features", "predictions")}
        (folder / "tokens.json").write_bytes(key_set())
        (folder / "keys.json").write_bytes(format_keyring(KEYRING))
        (folder / "audit.pem").write_bytes(
            private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.options: Mapping[str, Any] = {
            "access": {
                "enabled": True,
                "keys_file": str(folder / "tokens.json"),
                "issuer": "https://id",
                "audience": "fb",
                "rules": orjson.dumps({"team-a/*": ["echo"], "team-b/cem": ["*"]}).decode(),
            },
            "encryption": {
                "input_fields": ["features"],
                "prediction_fields": ["prediction"],
                "keys_file": str(folder / "keys.json"),
            },
            "audit": {
                "enabled": True,
                "principals": "name",
                "digests": "both",
                "signing_key": str(folder / "audit.pem"),
            },
        }
        self._author: TrustedAuthor | None = None

    def author(self, rng: random.Random, partitions: int) -> Author:
        self._author = TrustedAuthor(rng, partitions, self._topics["features"])
        return self._author

    async def prepare(self, worker_group: WorkerGroup, *, replication: int) -> None:
        """Return at once: the model is built by the workers."""

    async def disturb(self, worker_group: WorkerGroup, rng: random.Random) -> None:
        """Return at once."""

    async def complete(self, worker_group: WorkerGroup) -> None:
        """Return at once: a commit of all input is a commit of all outputs."""

    async def check(self, worker_group: WorkerGroup, feed: Feed) -> Counts:
        seen: dict[str, Sequence[ConsumerRecord]] = {}
        counts = await check(worker_group, feed, opened=lambda records: self._opened(records, seen))
        self._check_audit(seen["features"], seen[AUDITED])
        settings = Settings.model_validate(
            {
                "kafka": {"bootstrap_servers": worker_group.bootstrap, "group_id": worker_group.prefix},
                "topics": {"prefix": f"{worker_group.prefix}-"},
                **self.options,
            }
        )
        status = await verify_audit(settings, keys=(), counts=True, as_json=True)
        assert status == 0, "`forebay audit verify --counts` has findings, which are printed above"
        return counts

    def _opened(
        self, records: Mapping[str, list[ConsumerRecord]], seen: dict[str, Sequence[ConsumerRecord]]
    ) -> Mapping[str, list[ConsumerRecord]]:
        """Return the records with plain events and predictions; what is denied or moved stays as it is."""
        seen.update(records)
        features = self._opener("features", "features")
        predictions = self._opener("predictions", "prediction")
        return {
            **records,
            "features": [
                record if KIND_HEADER in dict(record.headers) else _plain(record, features)
                for record in records["features"]
            ],
            "predictions": [_plain(record, predictions) for record in records["predictions"]],
        }

    def _opener(self, topic: str, field: str) -> DocumentOpener:
        return DocumentOpener(self._topics[topic], [field], CIPHERS, id_field="id", accepts_plain=False)

    def _check_audit(self, events: Sequence[ConsumerRecord], blocks: Sequence[ConsumerRecord]) -> None:
        assert self._author is not None
        rows: dict[Place, list[_Expected]] = {}
        for block in blocks:
            for row in AuditFilter().select(decode_block(block.value)):
                place = Place(row["partition"], row["offset"])
                rows.setdefault(place, []).append(_Expected(row["outcome"], row["principal"], row["denial"]))
        wrong = []
        for record in events:
            place, headers = Place(record.partition, record.offset), dict(record.headers)
            event_id = headers[ID_HEADER].decode() if ID_HEADER in headers else orjson.loads(record.value)["id"]
            if (found := rows.pop(place, [])) != [expected := self._author.expected[event_id]]:
                wrong.append(f"{place}: {found} instead of {expected}")
        none_of(wrong, "events are not audited once with their outcome and principal")
        none_of(rows, "audited positions are of no committed event")


def _plain(record: ConsumerRecord, opener: DocumentOpener) -> ConsumerRecord:
    return replace(record, value=opener.open(record.value).value)
