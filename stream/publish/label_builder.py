"""Conversion of rows to labels: what really happened to an event, for the topic `labels`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, Literal

import orjson

from forebay.models.artefacts.signature import Signature
from forebay.models.data.input_row import InputRow
from forebay.schemas.errors import ConfigError
from forebay.stream.core.time_format import duration
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.publish.values import identifier, scalar_value

JoinBy = Literal["id", "position", "key_and_time"]

_MAX_NAMES: Final = 10
_LABEL_REMEDY: Final = "`forebay schemas label` prints the schema of a label"
_SKIP_REMEDY: Final = "fix it; --skip-bad-lines skips and counts such rows"
_KEY_REMEDY: Final = (
    "--key-column names the column of the events' record keys. For events without a key, --partition-column names the column "
    "of their partitions"
)


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The columns of a label's parts. None: the default name, if there is such a column.

    fields: columns that become the label's fields, for slices. default_fields: those that do if the row has them.
    """

    id: str | None = None
    label: str | None = None
    timestamp: str | None = None
    key: str | None = None
    topic: str | None = None
    partition: str | None = None
    offset: str | None = None
    fields: tuple[str, ...] = ()
    default_fields: tuple[str, ...] = ()

    def check(self, columns: Collection[str]) -> None:
        """Raise ConfigError if there is no column of labels, or if an option names a column that does not exist."""
        named = [
            ("--label-column", self.label or "label"),
            ("--id-column", self.id),
            ("--timestamp-column", self.timestamp),
            ("--key-column", self.key),
            ("--topic-column", self.topic),
            ("--partition-column", self.partition),
            ("--offset-column", self.offset),
            *(("--field-column", name) for name in self.fields),
        ]
        for option, name in named:
            if name is None or name in columns:
                continue
            near = get_close_matches(name, columns, n=1)
            is_default = option == "--label-column" and self.label is None
            raise ConfigError(
                "there is no column 'label'" if is_default else f"{option} {name!r}: there is no such column",
                kind="no_such_column",
                remedy=(f"{option} names the column of the labels; " if is_default else "")
                + (f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(list(columns)[:20])}"),
            )


@dataclass(frozen=True, slots=True)
class LabelTarget:
    """Where labels go.

    join_by: how the evaluator finds the prediction of a label (`evaluate.join_by`).
    topic: the input topic of the events, for rows that name none.
    num_partitions: of the topic `labels`.
    same_partitions: whether a label belongs into the partition with the number of its event's partition. Otherwise the key
        decides.
    max_future_ms: a label whose time is further than this in the future is refused by the evaluator.
    """

    join_by: JoinBy
    topic: str
    num_partitions: int
    same_partitions: bool
    max_future_ms: int = 300_000


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """The signatures of the models that predict the events. unchecked: served models whose signatures are unknown."""

    signatures: Mapping[str, Signature] = field(default_factory=dict)
    unchecked: Collection[str] = ()

    def fault(self, label: object, model: str | None) -> str | None:
        """Return why no prediction can have this label; None if one can, or if this is not known."""
        if model is not None:
            signature = self.signatures.get(model)
            return None if signature is None else _unfit(label, signature, model)
        if self.unchecked:
            return None
        faults = [_unfit(label, signature, name) for name, signature in self.signatures.items()]
        return faults[0] if faults and None not in faults else None


class LabelBuilder:
    """Builds one label from each row. A missing time becomes `now_ms()`. model: written into every label."""

    noun: Final = "label"

    def __init__(
        self,
        target: LabelTarget,
        *,
        now_ms: Callable[[], int],
        columns: LabelColumns | None = None,
        times: TimeRule | None = None,
        model: str | None = None,
        check: LabelCheck | None = None,
    ) -> None:
        self._target = target
        self._now_ms = now_ms
        self._columns = columns = columns or LabelColumns()
        self._times = times or TimeRule()
        self._model = model
        self._check = check or LabelCheck()
        self._id = columns.id or "id"
        self._label = columns.label or "label"
        self._timestamp = columns.timestamp or "timestamp"
        self._key = columns.key or "key"

    def build(self, row: InputRow) -> Message:
        """Return the message for a row. Raises RowFault."""
        values = row.values
        if values is None:
            return Message(None, row.line or b"")
        model = self._model_of(values)
        document: dict[str, object] = {}
        if (label_id := _text(self._id, row)) is not None:
            document["id"] = label_id
        elif self._target.join_by == "id":
            raise RowFault(
                f"{self._id} is missing, the id of the event that the label is for",
                "fill it in; --id-column names another column; evaluate.join_by can be position or key_and_time",
            )
        document["label"] = self._label_of(row, values, model)
        document["timestamp"] = self._time_of(row, values)
        if model is not None:
            document["model"] = model
        if fields := self._fields_of(row, values):
            document["fields"] = fields
        source = self._source_of(row, values)
        if self._target.join_by == "position":
            if "partition" not in source or "offset" not in source:
                raise RowFault(
                    "partition or offset is missing, by which labels are joined (evaluate.join_by)",
                    "fill them in; --partition-column and --offset-column name other columns",
                )
            document["source"] = {"topic": self._target.topic, **source}
        key = self._key_of(row)
        if key is None and self._target.join_by == "key_and_time":
            raise RowFault(f"{self._key} is missing, by which labels are joined (evaluate.join_by)", _KEY_REMEDY)
        partition = source.get("partition") if self._target.same_partitions else None
        if key is None and partition is None and self._target.num_partitions > 1:
            raise RowFault(
                f"{self._key} is missing; a label needs its event's record key to reach the partition of its prediction",
                _KEY_REMEDY,
            )
        return Message(key, orjson.dumps(document), partition if isinstance(partition, int) else None)

    # ---- parts of a label

    def _label_of(self, row: InputRow, values: Mapping[str, object], model: str | None) -> object:
        value, name = values.get(self._label), self._label
        if row.written is not None:
            text = row.written.get(name, "")
            if any(text in signature.labels for signature in self._check.signatures.values()):
                value = text  # the name of a class that reads as a number or as a missing value
        if isinstance(value, Decimal):
            value = float(value)
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            raise RowFault(f"{name} is missing", _SKIP_REMEDY)
        if not isinstance(value, bool | int | float | str):
            raise RowFault(
                f"{name} is {_kind(value)}; it must be a number, true or false, or the name of a class", _LABEL_REMEDY
            )
        if isinstance(value, float) and math.isinf(value):
            raise RowFault(f"{name} is infinite", _SKIP_REMEDY)
        if (fault := self._check.fault(value, model)) is not None:
            raise RowFault(f"{name} is {_shown(value)}; {fault}", "fix it; --no-check publishes it anyway")
        return value

    def _time_of(self, row: InputRow, values: Mapping[str, object]) -> int:
        value = values.get(self._timestamp)
        if value is None and self._target.join_by == "key_and_time":
            raise RowFault(
                f"{self._timestamp} is missing, the timestamp of the event, by which labels are joined (evaluate.join_by)",
                "fill it in; --timestamp-column names another column",
            )
        if value is None:
            return self._now_ms()
        written = value if row.written is None else row.written[self._timestamp]
        time_ms = self._times.milliseconds(self._timestamp, written)
        ahead_ms = time_ms - self._now_ms()
        if ahead_ms > self._target.max_future_ms:
            ahead, limit = duration(ahead_ms // 1000 * 1000), duration(self._target.max_future_ms)
            raise RowFault(
                f"{self._timestamp} is {_shown(written)}, {ahead} in the future; the evaluator refuses labels more than "
                f"{limit} ahead (evaluate.max_future_s), because they would end the waiting for others",
                "a label's timestamp is when it became known: fix it, or this machine's clock",
            )
        return time_ms

    def _model_of(self, values: Mapping[str, object]) -> str | None:
        value = values.get("model")
        return self._model or (value if isinstance(value, str) and value else None)

    def _fields_of(self, row: InputRow, values: Mapping[str, object]) -> dict[str, object]:
        fields: dict[str, object] = {}
        given = values.get("fields")
        if row.written is None and isinstance(given, Mapping):
            fields = {str(name): scalar_value(f"fields.{name}", value, self._times) for name, value in given.items()}
        for name in (*self._columns.default_fields, *self._columns.fields):
            if name in values:
                fields[name] = scalar_value(name, values[name], self._times)
        return {name: value for name, value in fields.items() if value is not None}

    def _source_of(self, row: InputRow, values: Mapping[str, object]) -> dict[str, object]:
        """Return topic, partition and offset of the event, as far as the row has them."""
        given = values.get("source")
        columns = self._columns
        source: dict[str, object] = {}
        nested = row.written is None and isinstance(given, Mapping)
        for part, column in (("topic", columns.topic), ("partition", columns.partition), ("offset", columns.offset)):
            if column is None and self._target.join_by != "position" and not nested:
                continue
            value = given.get(part) if column is None and isinstance(given, Mapping) else values.get(column or part)
            if value is None:
                continue
            if part == "topic":
                source[part] = str(value)
            elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise RowFault(
                    f"{column or part} is {_shown(value)}; it must be a whole number of at least 0", _SKIP_REMEDY
                )
            else:
                source[part] = value
        partition = source.get("partition")
        if self._target.same_partitions and isinstance(partition, int) and partition >= self._target.num_partitions:
            raise RowFault(
                f"partition {partition} does not exist; the last one is {self._target.num_partitions - 1}", _SKIP_REMEDY
            )
        return source

    def _key_of(self, row: InputRow) -> bytes | None:
        assert row.values is not None
        value = _identity(self._key, row)
        return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _identity(name: str, row: InputRow) -> str | bytes | None:
    """Return the exact text or bytes of the field `name`; None if it is missing, or empty."""
    assert row.values is not None
    if row.written is not None:
        return row.written.get(name) or None
    return identifier(name, row.values.get(name)) or None


def _text(name: str, row: InputRow) -> str | None:
    value = _identity(name, row)
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RowFault(f"{name} holds bytes that are not UTF-8", "store the ids as text") from None


def _unfit(label: object, signature: Signature, model: str) -> str | None:
    """Return why a label cannot be one of a model; None if it can."""
    if signature.task == "regression":
        is_number = isinstance(label, int | float) and not isinstance(label, bool)
        return None if is_number else f"model {model!r} predicts a number"
    count = signature.num_classes
    if isinstance(label, bool):
        fits = count == 2
    elif isinstance(label, int | float):
        fits = label == int(label) and 0 <= label < count
    else:
        fits = label in signature.labels
    if fits:
        return None
    names = [repr(name) for name in signature.labels[:_MAX_NAMES]]
    more = " …" if len(signature.labels) > _MAX_NAMES else ""
    known = f"{', '.join(names)}{more}, or their numbers from 0 to {count - 1}" if names else f"0 to {count - 1}"
    near = get_close_matches(label, signature.labels, n=1) if isinstance(label, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"the classes of model {model!r} are {known}{hint}"


def _kind(value: object) -> str:
    return (
        "a list"
        if isinstance(value, list)
        else "an object"
        if isinstance(value, Mapping)
        else f"a {type(value).__name__}"
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
