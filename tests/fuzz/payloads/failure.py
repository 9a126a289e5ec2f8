"""Polls that failed, as files that can be replayed."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.core.build import FakeRecord


@dataclass(frozen=True)
class Failure:
    """A poll of a target that failed, and why."""

    target: str
    seed: int
    number: int
    problem: str
    records: Sequence[FakeRecord]

    def save(self, folder: Path) -> Path:
        """Write the failure to a file of its own in a folder; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.target}-{self.seed}-{self.number}.json"
        document = {
            "target": self.target,
            "seed": self.seed,
            "number": self.number,
            "problem": self.problem,
            "records": [
                {
                    "offset": record.offset,
                    "timestamp": record.timestamp,
                    "key": _text(record.key),
                    "value": _text(record.value),
                    "headers": [[name, _text(content)] for name, content in record.headers],
                }
                for record in self.records
            ],
        }
        path.write_text(json.dumps(document, indent=1))
        return path


def load_failure(path: Path) -> Failure:
    """Read a file that `Failure.save` wrote."""
    document = json.loads(path.read_text())
    records = [
        FakeRecord(
            record["offset"],
            _bytes(record["value"]),
            timestamp=record["timestamp"],
            key=_bytes(record["key"]),
            headers=tuple((name, _bytes(content) or b"") for name, content in record["headers"]),
        )
        for record in document["records"]
    ]
    return Failure(
        document["target"],
        document["seed"],
        number=document["number"],
        problem=document["problem"],
        records=records,
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
