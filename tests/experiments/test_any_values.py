"""Sums by block with any JSON value or any number in any place are refused, or can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.schemas.errors import DataError
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.exact_block_sums import encode_column
from forebay.stream.experiments.experiment import Plan
from forebay.stream.experiments.paired_sums import PairedSums, PredictedBy
from forebay.stream.experiments.report import ExperimentView, report
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.wire import QualityParts, encode_parts
from tests.experiments.pairs import random_pairs
from tests.json_values import changed_documents, places


def documents(task: Task) -> list[dict[str, Any]]:
    """Return records of two versions, and of pairs of both."""
    pairs = random_pairs(task, 600)
    sums = BlockSums(task)
    sums.add_predictions(pairs.blocks_B)
    sums.add_pairs(*pairs)
    paired = PairedSums(task, served=1)
    side = PredictedBy(pairs.scores_BO, pairs.classes_B)
    paired.add_pairs(pairs.blocks_B, side, side, pairs.actual_B)
    parts = {1: QualityParts(blocks=sums), 2: QualityParts(blocks=sums, paired=paired)}
    return [
        orjson.loads(encode_parts(QualityKey("m", version, 0), part, window_s=3600, group="g", worker="w")[1])
        for version, part in parts.items()
    ]


def changed(document: dict[str, Any]) -> Iterator[bytes]:
    """Yield the document with other values, and with large and negative numbers in all of a column."""
    small = {name: document[name] for name in ("blocks", "paired")}
    for value in changed_documents(small):
        yield json.dumps(document | json.loads(value)).encode()
    size = document["blocks"]["num_blocks"]
    text = json.dumps(document)
    for _, value in places(small):
        if isinstance(value, str) and value.startswith("i"):
            for number in (0, -5, 1 << 40, 1 << 62, -(1 << 63), (1 << 63) - 1):
                yield text.replace(value, encode_column(np.full(size, number))).encode()


@pytest.mark.parametrize("task", list(Task))
def test_any_values_are_refused_or_can_be_compared(task: Task) -> None:
    stable, canary = documents(task)
    for value in changed(canary):
        view = ExperimentView("m", group="g", since_ms=0)
        view.read(orjson.dumps(stable))
        view.read(value)
        with np.errstate(all="ignore"):
            found = report(view, metric=None, plan=Plan(), against=1, shares={1: 0.5, 2: 0.5})
        json.dumps([each.to_dict() for each in found])


@pytest.mark.parametrize("part", ["predictions", "matched"])
def test_counts_that_no_evaluator_writes_are_refused(part: str) -> None:
    blocks = documents(Task.BINARY)[0]["blocks"]
    blocks[part] = encode_column(np.full(blocks["num_blocks"], -(1 << 63)))
    with pytest.raises(DataError, match=f"{part}: a count is beyond"):
        BlockSums.read(blocks)


@pytest.mark.parametrize("change", [{"served": 10**30}, {"right": [0, 0, 0, 10**30]}])
def test_paired_counts_that_no_evaluator_writes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="expected"):
        PairedSums.read(documents(Task.BINARY)[1]["paired"] | change)
