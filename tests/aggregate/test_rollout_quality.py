"""Which records of quality count for the judge of rollouts."""

from __future__ import annotations

from typing import Any

from forebay.stream.aggregate.rollout_quality import add_quality
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.wire import QualityParts, encode_parts
from tests.experiments.test_experiment import arm


class Windows:
    """Keeps the versions of the sums that are added."""

    def __init__(self) -> None:
        self.versions: list[int] = []

    def add_quality(self, _model: str, version: int, _window: tuple[int, int], _part: Any) -> None:
        self.versions.append(version)


def test_only_sums_by_block_of_the_own_group_count() -> None:
    windows, parts = Windows(), QualityParts(blocks=arm(300, seed=1))
    for version, (slice_name, group, part) in enumerate(
        [("", "g", parts), ("a=1", "g", parts), ("", "again", parts), ("", "g", QualityParts()), ("", "g", parts)]
    ):
        value = encode_parts(QualityKey("m", version, 0, slice_name), part, window_s=60, group=group, worker="w")[1]
        add_quality(windows, value, "g")  # type: ignore[arg-type]
    assert windows.versions == [0, 4]
