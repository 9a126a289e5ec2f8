"""The rollouts on the live page: what serves, who decided it and why, what is loading, and what cannot be loaded."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.admin.test_page import browser
from tests.admin.test_page_models import CLOSED, entry
from tests.admin.test_page_states import Document, Serve, screenshot, serve, status
from tests.core.build import JULY

__all__ = ["browser", "serve"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")


def rollout(**changes: Any) -> Document:
    """Return the rollout of a model with a canary and a shadow. changes: fields to replace."""
    document: Document = {
        "model": "late",
        "accepted": 12,
        "applied": 12,
        "since": JULY,
        "stable": 3,
        "canaries": [{"version": 4, "weight": 12.5}],
        "shadows": [
            {"version": 5, "sample": 0.1, "agreement": 0.9925, "rows": 1_234, "dropped": {"load": 50, "share": 6}}
        ],
        "steps": {"weights": [5.0, 12.5, 50.0, 100.0], "every_s": 600.0, "min_events": 1000},
        "step": 1,
        "paused": False,
        "rejected": [],
        "action": "step",
        "author": "aggregator",
        "automatic": True,
        "reason": "12,000 events without a failed check",
        "created": JULY,
        "loading": None,
        "error": None,
        "resident": [3, 4, 5],
    }
    return document | changes


def of_worker(*rollouts: Document) -> Document:
    """Return the status of a worker with these rollouts, which serves versions 3 and 4 of the model and keeps version 2."""
    models = [
        entry("late", 3, outcomes={"predicted": 900}, rate=87.5),
        entry("late", 4, outcomes={"predicted": 100}, rate=12.5),
    ]
    models.append(entry("late", 2, outcomes={"predicted": 5}, rate=0.0))  # stays in memory
    names = ("model:late:3", "model:late:4", "model:late:2", "cluster")
    return status(models=models) | {"rollouts": list(rollouts), "breakers": dict.fromkeys(names, CLOSED)}


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_rollout_has_a_row(width: int, serve: Serve) -> None:
    async with serve(of_worker(rollout()), viewport={"width": width, "height": 900}) as page:
        cells = await page.locator("#rollout-rows tbody td").all_inner_texts()
        model, stable, canaries, shadows, number, who, state = (re.split(r"[\t\n]+", cell) for cell in cells)
        assert (model, stable, number) == (["late"], ["v3"], ["12"])
        assert canaries == ["v4 12.5 %", "step 2 of 4: 5 %, 12.5 %, 50 %, 100 %"]
        assert shadows == ["v5 10 %", "agrees in 99.25 % of 1,234 compared", "56 dropped"]
        assert who[0].startswith("step by aggregator, automatic, ")
        assert who[1] == "12,000 events without a failed check"
        assert state == ["applied", "in memory: v3, v4, v5"]
        names = await page.locator("#model-rows tbody td:first-child").all_inner_texts()
        assert names == ["late v3\nstable", "late v4\ncanary, 12.5 %", "late v2\nno longer serves"]
        await expect(page.locator("#model")).to_have_text("late v3 · late v4")
        await expect(page.locator("#breakers-note")).to_have_text(
            "model late v3, model late v4, model late v2 and cluster"
        )
        assert await page.title() == "late v3 · Forebay"
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await screenshot(page, f"rollouts-{width}")


async def test_a_version_that_cannot_be_loaded_is_at_the_top(serve: Serve) -> None:
    error = "version 5: manifest.json: the digest differs from that of the revision"
    document = of_worker(rollout(accepted=13, error=error, rejected=[2], paused=True))
    async with serve(document) as page:
        await expect(page.locator("#banner")).to_have_text(f"late continues with revision 12: {error}")
        row = page.locator("#rollout-rows tbody tr")
        await expect(row).to_contain_text("12 → 13")
        await expect(row).to_contain_text("not applied")
        await expect(row).to_contain_text("rolled back:v2")
        await expect(row).to_contain_text("paused")


async def test_what_is_loading_and_what_waits_for_a_poll_is_shown(serve: Serve) -> None:
    loading = rollout(accepted=13, loading=6)
    waiting = rollout(model="visits", accepted=2, applied=1, canaries=[], steps=None, reason="")
    async with serve(of_worker(loading, waiting)) as page:
        rows = page.locator("#rollout-rows tbody tr")
        await expect(rows.nth(0)).to_contain_text("loading v6")
        await expect(rows.nth(1)).to_contain_text("at the next poll")


async def test_revision_0_is_the_configuration_and_texts_are_not_markup(serve: Serve) -> None:
    configured = rollout(accepted=0, applied=0, canaries=[], shadows=[], steps=None, author="configuration")
    document = of_worker(
        configured, rollout(model="visits", author="<b>eve</b>", reason="<img src=x onerror=alert(1)>")
    )
    async with serve(document) as page:
        rows = page.locator("#rollout-rows tbody tr")
        await expect(rows.nth(0)).to_contain_text("as configured")
        await expect(page.locator("#model-rows tbody td:first-child").nth(0)).to_have_text("late v3")
        await expect(rows.nth(1)).to_contain_text("<img src=x onerror=alert(1)>")
        assert await page.locator("#rollout-rows img, #rollout-rows b").count() == 0


async def test_without_rollouts_the_table_is_hidden(serve: Serve) -> None:
    async with serve(status()) as page:
        await expect(page.locator("#rollouts")).to_be_hidden()
