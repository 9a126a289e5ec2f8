"""The fastest path for topics whose events name their models: a poll is divided by a guess, which the parsers verify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from forebay.stream.core.records import Record
from forebay.stream.decode.columns import Columns
from forebay.stream.decode.model_guess import MAX_MODELS, ModelGuess
from forebay.stream.decode.models import ModelChoice
from forebay.stream.decode.one_model import OneModelDecoder, OtherModel
from forebay.stream.decode.parsers import named_event_parser, own_event_parser

POLLS_WITHOUT_GUESS: Final = 64
"""After a wrong guess, this number of polls of the topic is not divided: guesses that are often wrong save nothing."""


class DividedTopicDecoder:
    """Decodes the records of one partition for several models, those of one model after the other."""

    def __init__(self, models: ModelChoice, one_model: OneModelDecoder) -> None:
        self._models = models
        self._one_model = one_model
        names = list(models.by_name)
        self._guess = ModelGuess(names) if 1 < len(names) <= MAX_MODELS else None
        self._parse_named = [
            row_format.parser(partial(own_event_parser, model=row_format.ref.name)) for row_format in models.formats
        ]
        self._parse_of_topic = [
            row_format.parser(partial(named_event_parser, models=[row_format.ref.name]))
            for row_format in models.formats
        ]
        self._polls_to_skip: Counter[str] = Counter()

    def decode(self, values: Sequence[bytes | None], records: Sequence[Record], topic: str) -> list[Columns] | None:
        """Return the columns of the models that have records, in the order of the models; None if a guess is wrong.

        values: the values of records without headers and within the limits.
        """
        if self._guess is None:
            return None
        if self._polls_to_skip[topic]:
            self._polls_to_skip[topic] -= 1
            return None
        of_topic = self._models.formats.index(self._models.of_topic(topic))
        shares = self._guess.divide(values, records, unnamed=of_topic)
        if shares is None:
            return None
        all_columns = []
        for number, own_values, own_records in shares:
            columns = Columns(self._models.formats[number], own_records)
            parse = (self._parse_of_topic if number == of_topic else self._parse_named)[number]
            try:
                self._one_model.decode_values(own_values, columns, topic, parse=parse)
            except OtherModel:
                self._polls_to_skip[topic] = POLLS_WITHOUT_GUESS
                return None
            all_columns.append(columns)
        return all_columns
