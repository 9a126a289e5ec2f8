"""Settings of drift: whether workers count their rows, and when the counts are a finding."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from forebay.stream.config.section import Section
from forebay.stream.config.values import Allowed

MAX_IGNORED: Final = 1_024
MAX_COLUMN_NAME: Final = 512


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _check_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > MAX_IGNORED:
        raise ValueError(f"there are {len(names)}")
    for name in names:
        if not name or len(name) > MAX_COLUMN_NAME:
            raise ValueError(f"{name[:80]!r} is not a name")
    return names


ColumnNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_columns),
    Allowed(f"a list of at most {MAX_IGNORED} names of features (separated by commas in the environment)"),
]


class DriftSection(Section):
    """Drift: workers count a sample of their rows and scores, which is compared with the training data."""

    enabled: bool = Field(
        default=False,
        description="Count a sample of the rows and scores of each model version, for the topic drift, which "
        "`forebay topics create` creates. Models whose manifest has no reference statistics only have their scores counted.",
    )
    window_s: int = Field(
        default=300,
        ge=1,
        le=86_400,
        description="Length of the windows in which rows are counted, by the worker's clock.",
    )
    max_rows_per_s: int = Field(
        default=2_000,
        ge=1,
        le=1_000_000,
        description="Rows that one worker counts in a second, on average. Of more, a random sample is taken.",
    )
    warn: float = Field(
        default=0.1, gt=0, le=100, description="A population stability index (PSI) from here on is a warning."
    )
    alarm: float = Field(
        default=0.2, gt=0, le=100, description="A population stability index (PSI) from here on is an alarm."
    )
    windows: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Number of consecutive windows that must exceed a threshold. In the first ones of a version, one is enough "
        "for an alarm.",
    )
    min_rows: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000_000,
        description="A window with fewer counted rows, of all workers together, is not judged.",
    )
    ignored_columns: ColumnNames = Field(
        default=(),
        description="Features that are not counted, of any model: those that always differ from window to window, such as the "
        "hour of the day.",
    )
