"""Decide which pairs of a prediction and a label are valid, and count what they change.

Shapes: M = pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.checkpoint import JoinRules, Mark
from forebay.stream.evaluate.columns import Integers
from forebay.stream.evaluate.groups import Groups
from forebay.stream.evaluate.interning import Interner
from forebay.stream.evaluate.label_tally import LabelTally
from forebay.stream.evaluate.label_values import Values, ValueTable
from forebay.stream.evaluate.pairing import Changes, Floats, Mask, follow
from forebay.stream.evaluate.pending_quality import PairRows, PendingRows
from forebay.stream.evaluate.selection import Selection
from forebay.stream.evaluate.waiting_labels import LabelRows
from forebay.stream.evaluate.waiting_predictions import LabelOrigins, Layout, Rows

Ref = TypeVar("Ref", bound=Hashable)


class Sink(Protocol):
    """Counts what arrives."""

    def add(self, layout: Layout, rows: PendingRows) -> None: ...


@dataclass(frozen=True, slots=True)
class JoinParts:
    """What all inputs of a join use. models: names of models by code; 0 stands for every model."""

    rules: JoinRules
    values: ValueTable
    models: Interner[str]


class Pairs(NamedTuple):
    """Predictions and labels with the same hash; whether each pair is to be counted."""

    predictions: Selection
    labels: LabelRows
    is_counted_M: Mask

    def take(self, chosen: Rows) -> Pairs:
        """Return some pairs."""
        if len(chosen) == len(self.is_counted_M) and (np.diff(chosen) == 1).all():
            return self
        return Pairs(self.predictions.take(chosen), self.labels.take(chosen), self.is_counted_M[chosen])


class Settlement(Generic[Ref]):
    """Sets the labels of predictions.

    sink: counts pairs.
    tally: counts labels; None if they are not counted here.
    model_ref: returns the version whose classes the labels name.
    """

    def __init__(
        self,
        parts: JoinParts,
        groups: Groups[Ref],
        sink: Sink,
        *,
        model_ref: Callable[[Ref], ModelRef],
        tally: LabelTally | None,
    ) -> None:
        self._parts = parts
        self._groups = groups
        self._sink = sink
        self._model_ref = model_ref
        self._tally = tally

    def settle(self, layout: Layout, pairs: Pairs) -> Mask:
        """Set the labels of predictions and count what changes; return which of the pairs are valid.

        Raises what `Resolve` raises. Nothing of this join may then be committed.
        """
        predictions, labels, rules = pairs.predictions, pairs.labels, self._parts.rules
        versions = self._groups.refs_of(predictions.groups_M)
        valid = labels.maxima_N <= predictions.times_M + rules.horizon_ms
        valid &= predictions.is_not_after(labels.maxima_N + rules.early_ms)
        if labels.models_N.any():
            valid &= (labels.models_N == 0) | (labels.models_N == self._model_codes(versions))
        chosen = np.flatnonzero(valid)
        values = self._resolve(layout, versions[chosen], labels, chosen)
        is_refused = np.isnan(values)
        if is_refused.any():
            self._count("refused", pairs, chosen[is_refused])
            chosen, values = chosen[~is_refused], values[~is_refused]
            valid = np.zeros(len(valid), bool)
            valid[chosen] = True
        if len(chosen):
            order = np.argsort(predictions.ids_M[chosen], kind="stable")
            self._apply(layout, pairs.take(chosen[order]), values[order])
        return valid

    def _apply(self, layout: Layout, pairs: Pairs, values_M: Floats) -> None:
        predictions, labels, _ = pairs
        changes = follow(predictions.ids_M, values_M, predictions.labels_M)
        present = predictions.label_origins()
        own = LabelOrigins(labels.slices_N.astype(np.int64), labels.times_N - predictions.times_M)
        self._add_changes(layout, pairs, changes, (values_M, own, own.at(changes.before_at_M, present)))
        first = int(labels.offsets_N.argmin())
        last = np.flatnonzero(changes.is_last_M)
        after = own.at(changes.after_at_M, present).take(last)
        labels_from = Mark(int(labels.offsets_N[first]), int(labels.maxima_N[first]))
        rows = predictions if len(last) == len(predictions) else predictions.take(last)
        rows.set_labels(values_M[last], after, labels_from)
        is_repeat, is_first = changes.is_repeat_M, changes.is_first_M
        self._count("repeated", pairs, np.flatnonzero(is_repeat))
        self._count("corrected", pairs, np.flatnonzero(~is_repeat & ~is_first))
        self._count("early", pairs, np.flatnonzero(is_first & (labels.times_N < predictions.times_M)))

    def _add_changes(
        self, layout: Layout, pairs: Pairs, changes: Changes, settled: tuple[Floats, LabelOrigins, LabelOrigins]
    ) -> None:
        predictions, (values_M, own, before) = pairs.predictions, settled
        added = np.flatnonzero(pairs.is_counted_M & ~changes.is_repeat_M)
        removed = added[~changes.is_first_M[added]]
        at = np.concatenate([added, removed])
        if not len(at):
            return
        window_ms = self._parts.rules.window_ms
        self._sink.add(
            layout,
            PairRows(
                groups=predictions.groups_M[at],
                windows=predictions.times_M[at] // window_ms * window_ms,
                blocks=predictions.blocks_M[at],
                scores=predictions.scores_MO[at],
                classes=predictions.classes_MC[at],
                actual=np.concatenate([values_M[added], changes.before_M[removed]]),
                # With the same delay added and taken back, a correction leaves that of the first label.
                delays=own.delays_M[at],
                label_slices=np.concatenate([own.slices_M[added], before.slices_M[removed]]),
                label_delays=np.concatenate([own.delays_M[added], before.delays_M[removed]]),
                signs=np.repeat(np.array([1, -1], np.int8), [len(added), len(removed)]),
            ),
        )

    def _count(self, field: str, pairs: Pairs, chosen: Rows) -> None:
        if self._tally is not None and len(chosen):
            counted = chosen[pairs.is_counted_M[chosen]]
            self._tally.add(field, pairs.labels.models_N[counted], pairs.labels.times_N[counted])

    def _resolve(self, layout: Layout, versions: Integers, labels: LabelRows, chosen: Rows) -> Floats:
        values = Values(labels.values_N[chosen], labels.numbers_N[chosen])
        resolved = np.empty(len(versions))
        for version in np.unique(versions).tolist():
            rows = np.flatnonzero(versions == version)
            resolved[rows] = self._parts.values.resolve(
                self._model_ref(self._groups.refs.values[version]),
                values.take(rows),
                task=layout.task,
                num_classes=layout.num_classes,
            )
        return resolved

    def _model_codes(self, versions: Integers) -> npt.NDArray[Any]:
        names = (self._model_ref(ref).name for ref in self._groups.refs.values)
        return self._parts.models.codes(names, len(self._groups.refs))[versions]
