"""Settings of what workers take from devices at the edge."""

from __future__ import annotations

from pydantic import Field

from forebay.stream.config.section import Section


class EdgeSection(Section):
    """Devices at the edge: whether their reports are counted like the outcomes of workers."""

    reports: bool = Field(
        default=False,
        description="Take the reports of devices at POST /edge/reports of the admin API, and write their counts as outcome "
        "deltas, and with drift.enabled as records of drift. Set admin.token as well.",
    )
