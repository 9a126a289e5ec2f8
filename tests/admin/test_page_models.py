"""The live page of a worker with several models: a row for each, and why one of them is blocked."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.admin.test_page import browser
from tests.admin.test_page_states import Document, Serve, screenshot, serve, status

__all__ = ["browser", "serve"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSED = {"state": "closed", "failures_in_a_row": 0, "tries_again_in_s": None}
OPEN = {"state": "open", "failures_in_a_row": 5, "tries_again_in_s": 3.5}
WINDOW = {
    "kind": "tumbling",
    "max_batch_size": 64,
    "max_queue_delay_ms": 5,
    "open_windows": 12,
    "buffered_rows": 345,
}


def entry(name: str, version: int, *, outcomes: Document, rate: float, **more: Any) -> Document:
    """Return the entry of one model in the status. more: fields to replace."""
    (plain,) = status()["models"]
    now = {"events_per_s": rate, "latency_p50_ms": 3.25, "latency_p99_ms": 12.0, "batch_mean": 40.5}
    changes = {
        "name": name,
        "version": version,
        "topics": [f"prod.{name}"],
        "now": plain["now"] | now,
        "totals": {"outcomes": outcomes, "kinds": {}},
    }
    return plain | changes | more


def several() -> Document:
    """Return the status of a worker with three models: a usual one, one that is blocked, and one that takes windows."""
    models = [
        entry("late", 3, outcomes={"predicted": 900, "failed": 3}, rate=120.0),
        entry(
            "delay",
            1,
            outcomes={"predicted": 7},
            rate=0.0,
            blocked="breaker_open",
            breaker=OPEN,
            in_flight={"events": 250, "waiting_batches": 4, "model_call_for_s": 0.0},
        ),
        entry(
            "visits",
            2,
            outcomes={"accepted": 50, "window_predicted": 4},
            rate=2.0,
            window=WINDOW,
            topics=[],
            in_flight={"events": 1, "waiting_batches": 0, "model_call_for_s": 2.5},
        ),
    ]
    breakers = {"model:late": CLOSED, "model:delay": OPEN, "model:visits": CLOSED, "cluster": CLOSED}
    counts = {"predicted": 907, "failed": 3, "accepted": 50, "window_predicted": 4}
    return status(models=models, outcomes=counts, now__events_per_s=122.0) | {"breakers": breakers}


@pytest.mark.parametrize("width", [1280, 390])
async def test_each_of_several_models_has_a_row(width: int, serve: Serve) -> None:
    async with serve(several(), viewport={"width": width, "height": 900}) as page:
        await expect(page.locator("#model")).to_have_text("late v3 · delay v1 · visits v2")
        assert await page.title() == "late v3 and 2 more · Forebay"
        await expect(page.locator("#models .total")).to_have_text("3")
        rows = await page.locator("#model-rows tbody tr").all_inner_texts()
        late, delay, visits = (re.split(r"[\t\n]+", row) for row in rows)
        shared = ["3.25", "12", "40.5 of 256"]
        assert late == [
            *("late v3", "reading", "prod.late", "120", *shared, "0", "0"),
            "predicted 900 · rejected 0 · failed 3",
        ]
        assert delay == [
            *("delay v1", "blocked: circuit breaker open", "next attempt in 3.5 s"),
            *("prod.delay", "0", *shared, "250", "4", "predicted 7 · rejected 0"),
        ]
        assert visits == [
            *("visits v2", "reading", "a call runs for 2.50 s", "events that name it"),
            *("2", "3.25", "12", "40.5 of 64", "1", "0"),
            "accepted 50 · rejected 0 · windows: predicted 4 · failed 0",
        ]
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await screenshot(page, f"models-{width}")


async def test_the_reason_of_a_blocked_model_is_at_the_top(serve: Serve) -> None:
    async with serve(several()) as page:
        await expect(page.locator("#flight-note")).to_have_text("blocked: delay")
        await expect(page.locator("#breakers")).to_have_text("model delay open")
        await expect(page.locator("#banner")).to_have_text(
            "the circuit breaker of the model delay is open: only topics that feed other models are read, nothing is lost"
        )
        await expect(page.locator("#health")).to_have_text("degraded")


async def test_the_windows_of_one_of_the_models_are_shown(serve: Serve) -> None:
    async with serve(several()) as page:
        await expect(page.locator("#windows .total")).to_have_text("4 windows")
        legend = await page.locator("#events .legend").inner_text()
        assert [line.split(" ")[0] for line in legend.split("\n")] == ["predicted", "accepted", "rejected", "failed"]
        await expect(page.locator("#facts")).to_contain_text("Windows of visits")
        await expect(page.locator("#publish-command")).to_contain_text("--wait 30")  # the default model has none


@pytest.mark.parametrize(
    ("blocked", "words"),
    [
        (None, ""),
        ("in_flight_limit", "blocked: limit of events in flight"),
        ("device_backlog", "blocked: device is behind"),
        ("another_reason", "blocked: another reason"),
    ],
)
async def test_an_only_model_has_no_table_but_a_reason(blocked: str | None, words: str, serve: Serve) -> None:
    (only,) = status()["models"]
    async with serve(status(models=[only | {"blocked": blocked}])) as page:
        await expect(page.locator("#flight-note")).to_have_text(words)
        await expect(page.locator("#models")).to_be_hidden()
        await expect(page.locator("#model")).to_have_text("late v3")
        await expect(page.locator("#breakers-note")).to_have_text("model and cluster")
