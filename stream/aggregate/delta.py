"""Parsing outcome deltas. Never raises: any other bytes give None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from forebay.schemas.aggregates import LATE, MAX_SAMPLES
from forebay.schemas.definitions import DELTA_FORMAT
from forebay.schemas.failures import GOOD_KINDS, FailureKind, Outcome, Stage
from forebay.stream.core.redaction import redact_again, redact_stack_again
from forebay.stream.rollouts.performance import Performance

MAX_SAMPLE_CHARS: Final = 200
MAX_MODEL_CHARS: Final = 128
PREDICTED: Final = Outcome.PREDICTED.value

_OUTCOMES: Final = frozenset(outcome.value for outcome in Outcome)
_STAGES: Final = frozenset(stage.value for stage in Stage)
_KINDS: Final = frozenset({*GOOD_KINDS, *(kind.value for kind in FailureKind)})
_GOOD: Final = frozenset(outcome.value for outcome in Outcome if outcome.is_good)
_PREDICTED: Final = frozenset({Outcome.PREDICTED.value, Outcome.WINDOW_PREDICTED.value})
_OF_WINDOW: Final = frozenset(outcome.value for outcome in Outcome if outcome.of_window)


class CellKey(NamedTuple):
    """The key of a count within a bucket. All three fields come from closed lists, so that no event can add values."""

    outcome: str
    stage: str
    kind: str

    @property
    def is_prediction(self) -> bool:
        """Whether it counts predictions: of events, or of windows over event time."""
        return self.outcome in _PREDICTED

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure of its own bucket."""
        return self.outcome not in _GOOD and self.outcome != LATE

    @property
    def of_window(self) -> bool:
        """Whether it counts windows over event time instead of events."""
        return self.outcome in _OF_WINDOW


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One failure as an example, without values of its event."""

    message: str
    stack_hash: str | None
    stack: str | None


@dataclass(frozen=True, slots=True)
class Delta:
    """Events of one outcome to add to a bucket. Times in ms since the Unix epoch."""

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


class MeasuredDelta(NamedTuple):
    """A delta, the performance of the model's calls if it has one, and the worker process that counted it."""

    delta: Delta
    performance: Performance | None
    worker: str


def parse_delta(value: bytes | None) -> Delta | None:
    """Parse a record's value; None if it is not a valid delta of the known format."""
    try:
        document = orjson.loads(value or b"")
        return _delta(document) if document["format"] == DELTA_FORMAT else None
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def parse_measured_delta(value: bytes | None) -> MeasuredDelta | None:
    """Parse a record's value like `parse_delta`, with the performance of the model's calls if it is valid."""
    delta = parse_delta(value)
    if delta is None:
        return None
    document = orjson.loads(value or b"")
    worker, performance = document.get("worker"), document.get("performance")
    worker = worker if isinstance(worker, str) else ""
    try:
        return MeasuredDelta(delta, None if performance is None else Performance.from_json(performance), worker)
    except ValueError:
        return MeasuredDelta(delta, None, worker)


def _delta(document: dict[str, Any]) -> Delta | None:
    cell = CellKey(document["outcome"], document["stage"], document["kind"])
    numbers = [document[name] for name in ("window_start", "window_end", "version", "count", "first_seen", "last_seen")]
    if (
        cell.outcome not in _OUTCOMES
        or cell.stage not in _STAGES
        or cell.kind not in _KINDS
        or not all(type(number) is int for number in numbers)
        or not isinstance(document["model"], str)
        or document["count"] < 1
        or document["version"] < 1
        or document["window_end"] <= document["window_start"]
    ):
        return None
    return Delta(
        window_start=document["window_start"],
        window_end=document["window_end"],
        cell=cell,
        model=document["model"][:MAX_MODEL_CHARS],
        version=document["version"],
        count=document["count"],
        first_seen=document["first_seen"],
        last_seen=document["last_seen"],
        sample_ids=tuple(str(sample)[:MAX_SAMPLE_CHARS] for sample in document["sample_ids"][:MAX_SAMPLES]),
        exemplar=parse_exemplar(document["exemplar"]),
    )


def parse_exemplar(document: dict[str, Any] | None) -> Exemplar | None:
    """Parse and redact an exemplar. It is redacted here too because workers of older versions may not have done so."""
    if document is None:
        return None
    stack_hash, stack = document["stack_hash"], document["stack"]
    return Exemplar(
        redact_again(str(document["message"])),
        None if stack_hash is None else str(stack_hash)[:64],
        None if stack is None else redact_stack_again(str(stack)),
    )
