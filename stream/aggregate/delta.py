"""Outcome deltas as they are read. Total: any bytes give a delta or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from forebay.schemas.aggregates import LATE, MAX_SAMPLES
from forebay.schemas.definitions import DELTA_FORMAT
from forebay.schemas.failures import GOOD_KINDS, FailureKind, Outcome, Stage
from forebay.stream.core.redaction import redact_again, redact_stack_again

MAX_SAMPLE_CHARS: Final = 200
MAX_MODEL_CHARS: Final = 128
PREDICTED: Final = Outcome.PREDICTED.value

_OUTCOMES: Final = frozenset(outcome.value for outcome in Outcome)
_STAGES: Final = frozenset(stage.value for stage in Stage)
_KINDS: Final = frozenset({*GOOD_KINDS, *(kind.value for kind in FailureKind)})
_GOOD: Final = frozenset(outcome.value for outcome in Outcome if outcome.is_good)
_OF_WINDOW: Final = frozenset(outcome.value for outcome in Outcome if outcome.of_window)


class CellKey(NamedTuple):
    """What is counted apart within a window. All three come from closed lists, so that no event can add to them."""

    outcome: str
    stage: str
    kind: str

    @property
    def failed(self) -> bool:
        """Whether it counts against the events of its own window."""
        return self.outcome not in _GOOD and self.outcome != LATE

    @property
    def of_window(self) -> bool:
        """Whether windows over event time are counted and not events."""
        return self.outcome in _OF_WINDOW


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One failure as an example, without values of its event."""

    message: str
    stack_hash: str | None
    stack: str | None


@dataclass(frozen=True, slots=True)
class Delta:
    """How many more events had one outcome. Times in ms since the Unix epoch."""

    window_start: int
    window_end: int
    cell: CellKey
    model: str
    version: int
    count: int
    first_seen: int
    last_seen: int
    sample_ids: tuple[str, ...] = ()
    exemplar: Exemplar | None = None


def parse_delta(value: bytes | None) -> Delta | None:
    """None where it is no delta of the format that is understood."""
    try:
        said = orjson.loads(value or b"")
        return _delta(said) if said["format"] == DELTA_FORMAT else None
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _delta(said: dict[str, Any]) -> Delta | None:
    cell = CellKey(said["outcome"], said["stage"], said["kind"])
    numbers = [said[name] for name in ("window_start", "window_end", "version", "count", "first_seen", "last_seen")]
    if (
        cell.outcome not in _OUTCOMES
        or cell.stage not in _STAGES
        or cell.kind not in _KINDS
        or not all(type(number) is int for number in numbers)
        or not isinstance(said["model"], str)
        or said["count"] < 1
        or said["version"] < 1
        or said["window_end"] <= said["window_start"]
    ):
        return None
    return Delta(
        window_start=said["window_start"],
        window_end=said["window_end"],
        cell=cell,
        model=said["model"][:MAX_MODEL_CHARS],
        version=said["version"],
        count=said["count"],
        first_seen=said["first_seen"],
        last_seen=said["last_seen"],
        sample_ids=tuple(str(one)[:MAX_SAMPLE_CHARS] for one in said["sample_ids"][:MAX_SAMPLES]),
        exemplar=parse_exemplar(said["exemplar"]),
    )


def parse_exemplar(said: dict[str, Any] | None) -> Exemplar | None:
    """Redacted once more: a worker of an older version may not have done it."""
    if said is None:
        return None
    stack_hash, stack = said["stack_hash"], said["stack"]
    return Exemplar(
        redact_again(str(said["message"])),
        None if stack_hash is None else str(stack_hash)[:64],
        None if stack is None else redact_stack_again(str(stack)),
    )
