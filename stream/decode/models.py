"""The models that events are decoded for, and the choice among them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.models.artefacts.signature import Signature
from forebay.stream import native
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import FloatMatrix
from forebay.stream.decode.features import FeaturePacker
from forebay.stream.decode.formats.base64_f32 import base64_parser
from forebay.stream.decode.nested import flat_or_nested_parser, nested_type
from forebay.stream.decode.parsers import any_parser, extended_event_parser, plain_event_parser

MAX_LISTED: Final = 5
"""A message lists at most this number of models."""


@dataclass(frozen=True, slots=True)
class DecodedModel:
    """A served model as the decoder knows it.

    topics: full names of the topics whose events are for this model unless they name another one.
    """

    ref: ModelRef
    signature: Signature
    topics: frozenset[str] = frozenset()


class RowFormat:
    """How events become rows of one model.

    parse: parses events that name no model, with the features of this model only. It raises for all that are not plainly valid.
    parse_other: the same for events with fields that nothing reads, and for features as base64 text.
    header: the value of the header `forebay-model` for this model.
    matrix: returns rows as a new matrix.
    reader: the compiled reader of plain events; None if it is not available or does not know all types of the features.
    raw_bytes: the length of raw float32 rows that need not be validated value by value; -1 if all have to be.
    """

    def __init__(self, model: DecodedModel) -> None:
        signature = model.signature
        self.ref = model.ref
        self.header = model.ref.name.encode()
        self.packer = packer = FeaturePacker(signature)
        self.raw_bytes = -1 if packer.has_texts else packer.row_bytes
        self.parse = self.parser(plain_event_parser)
        extended = self.parser(extended_event_parser)
        self.parse_other = (
            extended
            if packer.has_texts
            else any_parser(base64_parser(plain_event_parser(str), packer.num_features), extended)
        )
        is_nullable = [feature.nullable for feature in signature.column_features] or [False] * packer.num_features
        self._not_nullable = np.logical_not(np.array(is_nullable, dtype=bool))
        self.matrix: Callable[[Sequence[Any]], FloatMatrix] = (
            self._matrix if packer.times is None else packer.times.matrix
        )
        self.reader = _row_reader(signature, packer)

    def parser(self, parser_of: Callable[[Any], Callable[[bytes], Any]]) -> Callable[[bytes], Any]:
        """Return a parser of events of this model. parser_of: returns a parser for a type of the features."""
        parse, shape = parser_of(self.packer.parsed_type), self.packer.shape
        if self.packer.has_texts:
            return parse
        if len(shape) > 1:
            parse = flat_or_nested_parser(parse, parser_of(nested_type(float, len(shape))), shape)
        return parse

    def _matrix(self, rows: Sequence[Any]) -> FloatMatrix:
        """Return rows, which are bytes or blocks of consecutive rows, as one matrix."""
        if len(rows) == 1 and isinstance(rows[0], np.ndarray):
            return rows[0]
        return np.frombuffer(bytearray().join(rows), dtype="<f4").reshape(-1, self.packer.num_features)

    def invalid_rows(self, x_BF: FloatMatrix) -> NDArray[np.bool_]:
        """Return which rows have infinite values, or NaN in a feature that must have a value."""
        checked_BF = x_BF if self._not_nullable.all() else x_BF[:, self._not_nullable]
        is_invalid_B: NDArray[np.bool_] = np.logical_or(
            np.isinf(x_BF).any(axis=1, keepdims=True), np.isnan(checked_BF).any(axis=1, keepdims=True)
        )[:, 0]
        return is_invalid_B

    def has_invalid_values(self, x_BF: FloatMatrix) -> bool:
        """Return whether a matrix has infinite values, or NaN in a feature that must have a value."""
        return bool(np.isinf(x_BF).any() or np.isnan(x_BF[:, self._not_nullable]).any())


def _row_reader(signature: Signature, packer: FeaturePacker) -> native.RowReader | None:
    if native.json_rows is None or packer.has_texts or sys.byteorder != "little":
        return None
    nullable = bytes(packer.nullable(index) for index in range(packer.num_features))
    names = tuple(name.encode() for name in packer.names)
    reader: native.RowReader = native.json_rows.RowReader(tuple(signature.shape), names, nullable)
    return reader


class ModelChoice:
    """The models of a decoder, and the choice among them.

    An event is for the model that its field `model` names; else for the one that its header `forebay-model` names; else for the
    one that its topic belongs to; else for the first.
    """

    def __init__(self, models: Sequence[DecodedModel]) -> None:
        self.formats = tuple(map(RowFormat, models))
        self.by_name = {row_format.ref.name: row_format for row_format in self.formats}
        self.by_header = {row_format.header: row_format for row_format in self.formats}
        topics = [topic for model in models for topic in model.topics]
        if not models or len(self.by_name) < len(models) or len(set(topics)) < len(topics):
            raise ValueError("models must have different names and topics, and there must be at least one")
        self._by_topic = {
            topic: row_format for model, row_format in zip(models, self.formats, strict=True) for topic in model.topics
        }

    def of_topic(self, topic: str) -> RowFormat:
        """Return the model of events that name none."""
        return self._by_topic.get(topic, self.formats[0])

    def describe(self) -> str:
        """Return the names of the models for a message, followed by the verb."""
        listed = [repr(row_format.ref.name) for row_format in self.formats[:MAX_LISTED]]
        more = len(self.formats) - len(listed)
        if more:
            return f"{', '.join(listed)} and … {more} more are"
        if len(listed) == 1:
            return f"{listed[0]} is"
        return f"{', '.join(listed[:-1])} and {listed[-1]} are"
