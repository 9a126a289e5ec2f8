"""The live page of a real worker whose broker becomes unreachable: it must not show outdated values."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from forebay.stream.embedded.broker import EmbeddedBroker
from tests.admin.test_page import ARTEFACTS, browser, opened
from tests.worker.harness import WorkerGroup

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTAGE_TIMEOUT_MS = 40_000


async def test_the_lag_is_unknown_while_the_broker_is_unreachable(browser: Browser, tmp_path: Path) -> None:
    async with EmbeddedBroker(die_with_parent=False) as broker:
        with WorkerGroup(broker.bootstrap_servers, "outage", tmp_path, partitions=1) as worker_group:
            await worker_group.create()
            worker = worker_group.start()
            await worker.ready()
            await worker_group.publish(20)
            async with opened(browser, worker.url) as (page, complaints):
                await expect(page.locator("#events .total")).to_have_text("20 events")
                await expect(page.locator("#lag")).to_have_text("0")
                await broker.stop()
                unanswered = page.locator("#rate-note", has_text="the cluster has not answered for")
                await expect(unanswered).to_be_visible(timeout=OUTAGE_TIMEOUT_MS)
                await expect(page.locator("#lag")).to_have_text("–")
                await expect(page.locator("#lag-note")).to_contain_text("the cluster has not answered for")
                await expect(page.locator("#health")).not_to_have_text("ready")
                await page.screenshot(path=ARTEFACTS / "outage.png", full_page=True)
                assert complaints == []
