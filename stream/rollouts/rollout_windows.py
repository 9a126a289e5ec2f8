"""The statistics of all models that have a canary, by revision and judge window. Pure."""

from __future__ import annotations

from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.rollouts.checks import Thresholds
from forebay.stream.rollouts.judge import Verdict, first_as_canary, judge
from forebay.stream.rollouts.quality_checks import SWITCH_MS
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.version_stats import Period, VersionStats


class RolloutWindows:
    """Collects what versions did, from the revision on with which the oldest current canary began.

    log: the revisions; call `update` after it was extended.
    """

    def __init__(self, log: RevisionLog, thresholds: Thresholds) -> None:
        self._log = log
        self._thresholds = thresholds
        self._periods: dict[str, list[Period]] = {}

    def update(self) -> None:
        """Begin periods for new revisions, and drop those of models without a canary."""
        for model in self._log.models():
            entries = [entry for entry in self._log.history(model) if entry.accepted]
            history = [entry.revision for entry in entries]
            first = min((_began(history, canary.version) for canary in history[-1].canaries), default=None)
            if first is None:
                self._periods.pop(model, None)
                continue
            known = {period.number: period for period in self._periods.get(model, ())}
            self._periods[model] = [
                known.get(entry.revision.number)
                or Period(
                    entry.revision.number,
                    entry.timestamp_ms,
                    window_s=self._thresholds.window_s,
                    keep_windows=self._thresholds.windows + 2,
                )
                for entry in entries
                if entry.revision.number >= first
            ]

    @property
    def since_ms(self) -> int | None:
        """The time of the oldest revision that is judged; None if there is no canary."""
        return min((periods[0].start_ms for periods in self._periods.values()), default=None)

    def add(self, model: str, version: int, timestamp_ms: int, stats: VersionStats) -> None:
        """Add what a version did, reported at `timestamp_ms`. Ignored if its model has no canary."""
        for period in reversed(self._periods.get(model, ())):
            if period.start_ms <= timestamp_ms:
                period.add(version, timestamp_ms, stats)
                return

    def add_quality(self, model: str, version: int, window: tuple[int, int], part: BlockSums) -> None:
        """Add the quality of a version in a window of event time [start, end), ms since the Unix epoch.

        Ignored if its model has no canary, and if a revision came within the window: then its versions had other shares in
        one part of it. Raises DataError if the sums are of another task than those before.
        """
        start_ms, end_ms = window
        periods = self._periods.get(model, [])
        following: Period | None = None
        for period in reversed(periods):
            if period.start_ms + SWITCH_MS <= start_ms:
                if following is None or end_ms <= following.start_ms:
                    period.add_quality(version, part)
                return
            following = period

    def verdicts(self, *, now_ms: int) -> list[Verdict]:
        """Return the verdicts on all canaries."""
        return [
            verdict
            for model, periods in self._periods.items()
            for verdict in judge(self._history(model), periods, self._thresholds, now_ms=now_ms)
        ]

    def _history(self, model: str) -> list[Revision]:
        return [entry.revision for entry in self._log.history(model) if entry.accepted]


def _began(history: list[Revision], canary: int) -> int:
    first = first_as_canary(history, canary)
    assert first is not None, "it is a canary of the last revision"
    return first
