"""Settings of the processes of `forebay run`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import annotated_types
from pydantic import Field

from forebay.stream.config.section import Section
from forebay.stream.config.values import Allowed

MAX_PROCESSES: Final = 1_024

Processes = Annotated[
    Annotated[int, annotated_types.Ge(1), annotated_types.Le(MAX_PROCESSES)] | Literal["auto"],
    Allowed(f'a whole number from 1 to {MAX_PROCESSES}, or "auto"'),
]


class WorkerSection(Section):
    """The processes of `forebay run`."""

    processes: Processes = Field(
        default=1,
        description="Number of worker processes that `forebay run` starts and supervises, with one admin API. Each is a "
        "member of the group. auto: one for each core that it may use, at most one for each input partition. 1: the worker "
        "runs without a supervisor.",
    )
