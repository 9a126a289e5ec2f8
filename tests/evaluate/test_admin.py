"""The quality of models over HTTP, from an evaluator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiohttp import ClientSession

from forebay.stream.config.sections import AdminSection, Settings
from forebay.stream.evaluate.admin import EvaluatorAdmin
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.wire import QualityParts, encode_parts
from tests.core.build import ManualClock
from tests.quality.samples import binary


async def test_the_quality_of_all_partitions_is_served() -> None:
    unused: Any = SimpleNamespace()
    admin = EvaluatorAdmin(Settings(admin=AdminSection(port=0)), unused, clock=ManualClock())
    sums = binary(300, 1).sums()
    admin.quality.view.read(
        encode_parts(
            QualityKey("late", 3, 0), QualityParts(sums=sums), window_s=3600, group="forebay-evaluate", worker="w"
        )[1]
    )
    url = await admin.start()
    try:
        async with ClientSession(url) as session:
            async with session.get("/quality") as response:
                (subject,) = (await response.json())["quality"]
            async with session.get("/quality.html") as response:
                page, kind = await response.text(), response.content_type
            async with session.get("/page/quality.css") as response:
                style, style_kind = await response.text(), response.content_type
    finally:
        await admin.stop()
    assert subject["total"]["accuracy"] == metrics(sums).accuracy
    assert (kind, style_kind) == ("text/html", "text/css")
    assert "late v3" in page and 'href="/page/quality.css"' in page and "border-collapse" in style
