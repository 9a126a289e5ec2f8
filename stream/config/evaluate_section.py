"""Settings of the evaluator: how labels are joined with predictions."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from forebay.stream.config.section import Section
from forebay.stream.config.values import Allowed, Name

MAX_SLICES: Final = 4
MAX_SLICE_NAME: Final = 128
_DAY_S: Final = 86_400


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _check_slices(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > MAX_SLICES:
        raise ValueError(f"there are {len(names)}")
    for name in names:
        if not name or len(name) > MAX_SLICE_NAME or "=" in name:
            raise ValueError(f"{name[:80]!r} is not a name")
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is listed twice")
    return names


SliceNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_slices),
    Allowed(
        f"a list of at most {MAX_SLICES} different names (separated by commas in the environment), each 1 to {MAX_SLICE_NAME} "
        "characters without '='"
    ),
]


class EvaluateSection(Section):
    """The evaluator (`forebay evaluate`): joins labels with predictions and measures the quality of each model version."""

    enabled: bool = Field(
        default=False,
        description="Evaluate models by labels. `forebay topics create` then also creates the topics of labels and quality.",
    )
    labels_topic: Name = Field(
        default="labels",
        description="Topic to read labels from. topics.prefix is prepended. It must have as many partitions as predictions.",
    )
    join_by: Literal["id", "position", "key_and_time"] = Field(
        default="id",
        description="How a label names its prediction. id: by the event's id. position: by topic, partition and offset of the "
        "event. key_and_time: by the event's record key and its timestamp.",
    )
    horizon_s: int = Field(
        default=_DAY_S,
        ge=1,
        le=30 * _DAY_S,
        description="A prediction waits this long for its label, by event time. Later labels are not used.",
    )
    early_s: int = Field(
        default=3_600,
        ge=0,
        le=30 * _DAY_S,
        description="A label waits this long for its prediction, by event time.",
    )
    window_s: int = Field(
        default=3_600,
        ge=1,
        le=30 * _DAY_S,
        description="Length of the windows of the quality records, by the event time of the predictions.",
    )
    max_waiting: int = Field(
        default=10_000_000,
        ge=100_000,
        le=1_000_000_000,
        description="Maximum number of predictions that wait for labels in one process. Beyond it, the oldest are evicted and "
        "counted. Each takes 24 bytes and 4 for each score.",
    )
    commit_interval_ms: int = Field(
        default=5_000,
        ge=100,
        le=600_000,
        description="Time between two commits. The quality records of a commit and the positions are in one transaction.",
    )
    group_id: Name | None = Field(
        default=None,
        description="The evaluators' consumer group. Evaluators with the same group share the partitions. "
        "Default: <kafka.group_id>-evaluate.",
    )
    slices: SliceNames = Field(
        default=(),
        description="Names by whose values the quality is also counted separately: features that predictions carry in their "
        "field slices, else fields of the labels.",
    )
    max_slice_values: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Maximum number of values of a slice that an evaluator counts separately. Further values are counted "
        "together, as other.",
    )
    max_future_s: int = Field(
        default=300,
        ge=0,
        le=30 * _DAY_S,
        description="A label or prediction whose timestamp is further than this ahead of its record's timestamp is refused: it "
        "would end the waiting of all others. Records of labels should have the brokers' time "
        "(message.timestamp.type=LogAppendTime, as `forebay topics create` sets it).",
    )
