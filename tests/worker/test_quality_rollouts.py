"""A canary is judged by its labels: a worse version is ended, an equal one promoted, and a shadow compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forebay.stream.rollouts.changes import start_shadow
from forebay.stream.rollouts.judge import AUTHOR
from forebay.stream.rollouts.revision import Action
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.worker.quality_rollouts import EQUAL, WORSE, quality_group


@pytest.mark.long
async def test_canaries_and_shadows_are_judged_by_labels(embedded_broker: Broker, names: Names, tmp_path: Path) -> None:
    async with quality_group(embedded_broker.bootstrap, names.prefix, tmp_path) as judged:
        ended = await judged.canary(WORSE)
        assert (ended.action, ended.author, ended.stable) == (Action.ABORT, AUTHOR, 1), ended
        assert WORSE in ended.rejected and ended.evidence["check"] == "quality", ended
        assert ended.reason.startswith(f"the log loss of version {WORSE} is "), ended

        ended = await judged.canary(EQUAL)
        assert (ended.action, ended.author, ended.stable) == (Action.PROMOTE, AUTHOR, EQUAL), ended

        async def compared() -> list[dict[str, Any]]:
            document = await judged.experiment("--since", "1h")
            return [one for one in document["comparisons"] if one["paired"]]

        async with judged.proposed(lambda current, proposal: start_shadow(current, WORSE, 1.0, proposal), WORSE):
            (shadow,) = await eventually(
                compared,
                "a shadow with labels",
                until=lambda found: [one["verdict"] for one in found] == ["worse"],
                timeout_s=60,
                every_s=0.5,
                context=lambda: judged.log,
            )
        assert (shadow["version"], shadow["against"]) == (WORSE, EQUAL)
        right = shadow["right"]
        assert right["both"] and sum(right.values()) == shadow["treatment"]["events"] == shadow["control"]["events"]
