"""Labelled predictions for a calibration: from a file, or from the topics, joined in memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np
import numpy.typing as npt
import orjson

from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ConfigError, DataError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Record

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings

_MAX_SHOWN: Final = 80


@dataclass(slots=True)
class LabelledScores:
    """Scores of a version, with the index of the true class of each."""

    scores: list[list[float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)

    def add(self, scores: list[float], class_index: int) -> None:
        self.scores.append(scores)
        self.classes.append(class_index)

    def arrays(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return the scores, float32 [N, O], and the classes, int64 [N]."""
        width = len(self.scores[0]) if self.scores else 0
        return np.array(self.scores, np.float32).reshape(-1, width), np.array(self.classes, np.int64)


def check_labels_topic(settings: Settings, topic: str) -> None:
    """Raise ConfigError if a topic is one that Forebay reads events from or writes. topic: the full name."""
    from forebay.schemas.topics import ALL_TOPICS, LABELS, topic_name

    prefix = settings.topics.prefix
    own = (*settings.input.topics, *settings.routed_topics(), *(spec.name for spec in ALL_TOPICS if spec is not LABELS))
    if topic in {topic_name(prefix, name) for name in own}:
        raise ConfigError(
            f"{topic} is not a topic of labels: Forebay uses it for something else",
            kind="calibration",
            remedy=f"give the topic to which the true classes are published, such as {settings.evaluate.labels_topic}",
        )


def class_of(value: object, signature: Signature) -> int | None:
    """Return the index of the class that a label names, by name, index, or true or false; None if there is no such class."""
    if isinstance(value, str):
        if value in signature.labels:
            return signature.labels.index(value)
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool):
        return int(value) if signature.num_classes == 2 else None
    if isinstance(value, int | float) and value == value // 1 and 0 <= value < signature.num_classes:
        return int(value)
    return None


def read_labelled_file(path: Path, signature: Signature, max_rows: int) -> LabelledScores:
    """Return the rows of a file: CSV with the columns score and label, or JSON lines with score or prediction, and label.

    Raises DataError that names the line.
    """
    found = LabelledScores()
    width = signature.output_dim
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _csv_rows(path, file) if path.suffix.lower() == ".csv" else _json_rows(path, file)
            for line, row in rows:
                if len(found.classes) >= max_rows:
                    raise _too_many(f"{path}", max_rows)
                scores = _scores(row)
                if scores is None or len(scores) != width:
                    shown = str(row.get("score", row.get("prediction")))[:_MAX_SHOWN]
                    wanted = "a number as score" if width == 1 else f"a list of {width} numbers as prediction"
                    raise _wrong(f"{path}:{line}: the score is {shown}", f"give {wanted}, as predictions have it")
                class_index = class_of(row.get("label"), signature)
                if class_index is None:
                    raise _wrong(
                        f"{path}:{line}: the label is {str(row.get('label'))[:_MAX_SHOWN]!r}",
                        f"give {_classes(signature)}",
                    )
                found.add(scores, class_index)
    except OSError as error:
        raise _wrong(f"{path}: cannot be read: {error.strerror or error}", "check the path") from None
    except UnicodeDecodeError:
        raise _wrong(f"{path}: this is not UTF-8 text", "give a CSV file (.csv) or JSON lines") from None
    return found


def _csv_rows(path: Path, file: Any) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(file)
    missing = {"score", "label"} - set(reader.fieldnames or ())
    if missing:
        raise _wrong(f"{path}:1: the header has no {' and no '.join(sorted(missing))}", "give columns score and label")
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise _wrong(f"{path}:{reader.line_num}: not CSV: {error}", "give a CSV file with a header") from None


def _json_rows(path: Path, file: Any) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise _wrong(f"{path}:{number}: not a JSON object", 'give lines such as {"score": 0.8, "label": "late"}')
        yield number, row


def _scores(row: Mapping[str, object]) -> list[float] | None:
    value = row.get("score", row.get("prediction"))
    values: list[Any] = value if isinstance(value, list) else [value]
    try:
        return [float(number) for number in values]
    except (TypeError, ValueError):
        return None


@dataclass(slots=True)
class TopicJoin:
    """Joins the predictions of a version with labels by their ids, in memory. The last label of an id counts, and the last
    prediction.

    max_rows: the largest number of labels.
    num_refused: records other than labels. num_malformed: predictions by the version without its scores.
    """

    ref: ModelRef
    signature: Signature
    topic: str
    max_rows: int
    labels: dict[str, int] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    num_refused: int = 0
    num_predictions: int = 0
    num_malformed: int = 0

    def add_label(self, record: Record) -> None:
        """Add a record of the topic of labels. Raises DataError if there are too many."""
        document = _document(record)
        # A prediction has a field label, too: the class that was predicted.
        if document is None or {"prediction", "source"} <= document.keys():
            self.num_refused += 1
            return
        if document.get("model") not in (None, self.ref.name):
            return
        event_id, class_index = document.get("id"), class_of(document.get("label"), self.signature)
        if event_id is None or isinstance(event_id, bool) or class_index is None:
            self.num_refused += 1
            return
        self.labels[str(event_id)] = class_index
        if len(self.labels) > self.max_rows:
            raise _too_many(self.topic, self.max_rows)

    def add_prediction(self, record: Record) -> None:
        """Add a record of a topic of predictions, if it is by the version and has a label."""
        document = _document(record)
        if document is None or (document.get("model"), document.get("version")) != self.ref:
            return
        event_id, scores = document.get("id"), document.get("prediction")
        if not isinstance(event_id, str) or not self._are_scores(scores):
            self.num_malformed += 1
            return
        self.num_predictions += 1
        if event_id in self.labels:
            self.scores[event_id] = scores

    def _are_scores(self, scores: object) -> TypeGuard[list[float]]:
        return (
            isinstance(scores, list)
            and len(scores) == self.signature.output_dim
            and all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores)
        )

    def joined(self) -> LabelledScores:
        """Return the predictions that have a label."""
        return LabelledScores(list(self.scores.values()), [self.labels[event_id] for event_id in self.scores])


def _document(record: Record) -> dict[str, Any] | None:
    try:
        document = orjson.loads(record.value or b"")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


async def read_labelled_topics(settings: Settings, join: TopicJoin, *, since_ms: int | None, quiet: bool) -> None:
    """Read labels and predictions up to the present end of their topics into the join. Raises BrokerError, DataError."""
    from forebay.schemas.topics import REVIEW, topic_name

    await _read_all(settings, [join.topic], join.add_label, since_ms=since_ms, quiet=quiet)
    topics = list(settings.prediction_topics())
    if settings.has_review_topic():
        # What a model abstains from would be missing just where its scores are uncertain.
        topics.append(topic_name(settings.topics.prefix, REVIEW.name))
    await _read_all(settings, topics, join.add_prediction, since_ms=since_ms, quiet=quiet)


async def _read_all(
    settings: Settings, topics: list[str], add: Callable[[Record], None], *, since_ms: int | None, quiet: bool
) -> None:
    from forebay.stream.cli.dlq_reading import bar
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.consumer.topic_reader import TopicReader

    options = client_options(settings.kafka)
    async with TopicReader(options, topics, from_beginning=True, bounded=True, clock=SystemClock()) as reader:
        ranges = await reader.offset_ranges(since_ms=since_ms)
        with bar(", ".join(topics), quiet=quiet) as progress:
            async for _, records in reader.within(ranges, on_progress=progress):
                for record in records:
                    add(record)


def _classes(signature: Signature) -> str:
    names = ", ".join(signature.labels[:10])
    indices = f"an index from 0 to {signature.num_classes - 1}"
    return f"the name of a class ({names}) or {indices}" if names else indices


def _too_many(place: str, max_rows: int) -> DataError:
    return _wrong(f"{place}: there are more than {max_rows} labels", "narrow the time with --from, or raise --max-rows")


def _wrong(message: str, remedy: str) -> DataError:
    return DataError(message, kind="labels", remedy=remedy)
