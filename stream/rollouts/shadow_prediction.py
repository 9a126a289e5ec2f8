"""The records on `shadow-predictions`: a pair of predictions of one event, by a shadow and by the version that served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import orjson

from forebay.schemas.errors import DataError
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.comparison import Side

_FAILED: Final = '"prediction":null,"confidence":null,"class":null,"label":null,"failure":'


class SideFormat:
    """Writes what one version predicted, by columns.

    version: of the model.
    labels, num_classes: as in its signature; num_classes is 0 for regression.
    """

    def __init__(self, *, version: int, labels: Sequence[str], num_classes: int) -> None:
        self._start = f'{{"version":{version},'
        label_of_class = [*labels, *[None] * (num_classes - len(labels))]
        self._classes = [
            f',"class":{index},"label":{orjson.dumps(label).decode()},"failure":null'
            for index, label in enumerate(label_of_class)
        ]

    def write(self, side: Side, confidences: Sequence[str], failures: Sequence[str | None]) -> list[str]:
        """Return a JSON object for each event.

        confidences: as JSON numbers; ignored for regression.
        failures: the failure kind of each event; None if it was predicted.
        """
        end = f',"latency_ms":{round(side.call_s * 1000, 3)},"rows":{side.num_rows},"cpu_ms":{round(side.cpu_s * 1000, 3)}}}'
        scores = _json_rows(side.values_BO)
        classes = [-1] * len(scores) if side.classes_B is None else side.classes_B.tolist()
        start, written = self._start, []
        for score, confidence, index, failure in zip(scores, confidences, classes, failures, strict=True):
            if failure is not None:
                written.append(f'{start}{_FAILED}"{failure}"{end}')
            elif side.classes_B is None:
                written.append(
                    f'{start}"prediction":[{score}],"confidence":null,"class":null,"label":null,"failure":null{end}'
                )
            else:
                written.append(f'{start}"prediction":[{score}],"confidence":{confidence}{self._classes[index]}{end}')
        return written


def json_numbers(values_B: Any) -> list[str]:
    """Return each value of an array as a JSON number, float32 by its shortest digits; null for NaN and infinity."""
    text = orjson.dumps(np.ascontiguousarray(values_B), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return text[1:-1].split(",") if len(values_B) else []


def _json_rows(values_BO: Any) -> list[str]:
    text = orjson.dumps(np.ascontiguousarray(values_BO), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return text[2:-2].split("],[") if len(values_BO) else []


class PairSource(NamedTuple):
    """The events of pairs, as columns. partition: they are all of one partition; rows: None for a record that is one event."""

    partition: TopicPartition
    ids: Sequence[str]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    rows: Sequence[int | None]


def encode_pairs(
    model: str, revision: int, source: PairSource, *, primary: Sequence[str], shadow: Sequence[str]
) -> list[bytes]:
    """Return a JSON document for each pair. primary, shadow: from `SideFormat.write`."""
    middle = f',"model":{orjson.dumps(model).decode()},"revision":{revision},"source":{{"topic":'
    middle += f'{orjson.dumps(source.partition.topic).decode()},"partition":{source.partition.partition},"offset":'
    return [
        f'{{"id":{orjson.dumps(i).decode()}{middle}{_place(o, r)},"timestamp":{t}}},"primary":{p},"shadow":{s}}}'.encode()
        for i, o, r, t, p, s in zip(
            source.ids, source.offsets, source.rows, source.timestamps, primary, shadow, strict=True
        )
    ]


def _place(offset: int, row: int | None) -> str:
    return str(offset) if row is None else f'{offset},"row":{row}'


class PredictedSide(msgspec.Struct, frozen=True):
    """What one version predicted for one event. Exactly one of `prediction` and `failure`, the kind, is None."""

    version: int
    prediction: list[float] | None
    confidence: float | None
    class_index: int | None = msgspec.field(name="class")
    label: str | None
    failure: str | None
    latency_ms: float
    rows: int
    cpu_ms: float = 0.0

    def __post_init__(self) -> None:
        if (self.prediction is None) == (self.failure is None):
            raise ValueError("exactly one of prediction and failure must be given")

    @property
    def text(self) -> str:
        """A short description: the failure, the class with its label, or the values."""
        if self.prediction is None:
            return self.failure or ""
        values = ", ".join(f"{value:.4g}" for value in self.prediction[:3])
        values += ", …" if len(self.prediction) > 3 else ""
        if self.class_index is None:
            return values
        return f"{f'class {self.class_index}' if self.label is None else self.label} ({values})"


class EventSource(msgspec.Struct, frozen=True):
    """The record of an event. timestamp: the event's own, ms since the Unix epoch; row: its row, if the record has several."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    row: int | None = None


class ShadowPair(msgspec.Struct, frozen=True):
    """A record of `shadow-predictions`."""

    id: str
    model: str
    revision: int
    source: EventSource
    primary: PredictedSide
    shadow: PredictedSide


_DECODER: Final = msgspec.json.Decoder(ShadowPair)


def decode_pair(value: bytes | None) -> ShadowPair:
    """Return the pair of a record's value. Raises DataError if it is not one."""
    try:
        return _DECODER.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"not a shadow prediction: {error}", kind="shadow_prediction") from error
