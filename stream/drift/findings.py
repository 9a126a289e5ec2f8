"""What the detector reports: a column of a model version that has drifted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from forebay.stream.core.quantities import quantity
from forebay.stream.drift.bins import ColumnKind
from forebay.stream.drift.counts import DriftKey
from forebay.stream.drift.measures import Level, Measure


class FindingKind(StrEnum):
    """DRIFT began while the version was served. SKEW exists since its first windows: training and
    serving differ."""

    DRIFT = "drift"
    SKEW = "skew"


_DESCRIPTIONS: Final = {
    Measure.PSI: "PSI {value:.3g} against the training data",
    Measure.PSI_RECENT: "PSI {value:.3g} against the last good windows",
    Measure.MISSING: "{value:.1%} missing, {expected:.1%} in the training data",
    Measure.UNSEEN: "{value:.1%} unknown categories, {expected:.1%} in the training data",
    Measure.OUT_OF_RANGE: "{value:.1%} out of the range of the training data",
}
_NOUNS: Final = {
    ColumnKind.NUMBER: "feature",
    ColumnKind.CATEGORY: "feature",
    ColumnKind.SCORE: "score",
    ColumnKind.CLASS: "predicted",
}


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """A measure of a column that is beyond its threshold.

    key: of the last window.
    value, expected: in that window, and in the training.
    windows: the number of windows in a row that are at least at the level WARN.
    mean, expected_mean: of the column, in that window and in the training; None if they are unknown.
    """

    key: DriftKey
    column: str
    column_kind: ColumnKind
    measure: Measure
    value: float
    expected: float
    level: Level
    kind: FindingKind
    windows: int
    mean: float | None = None
    expected_mean: float | None = None

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.key.model

    @property
    def version(self) -> int:
        """The version of the model."""
        return self.key.version

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.key.ref}: {self.detail}"

    @property
    def detail(self) -> str:
        """The line without the model version."""
        what = f"{_NOUNS[self.column_kind]} {self.column}"
        detail = _DESCRIPTIONS[self.measure].format(value=self.value, expected=self.expected)
        if (
            self.measure in (Measure.PSI, Measure.OUT_OF_RANGE)
            and self.mean is not None
            and self.expected_mean is not None
        ):
            detail += f", mean {self.mean:.3g} instead of {self.expected_mean:.3g}"
        skew = "since the first windows of the version"
        since = skew if self.kind is FindingKind.SKEW else f"{quantity(self.windows, 'window')} in a row"
        return f"{what}: {detail} ({since})"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            **self.key._asdict(),
            "column": self.column,
            "column_kind": self.column_kind.value,
            "measure": self.measure.value,
            "value": self.value,
            "expected": self.expected,
            "level": self.level.value,
            "kind": self.kind.value,
            "windows": self.windows,
            "mean": self.mean,
            "expected_mean": self.expected_mean,
            "text": self.text,
        }
