"""The live page for each state of a worker: its real files with artificial statuses.

Screenshots are saved in .artefacts/page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from forebay.schemas.failures import Outcome
from forebay.stream.admin.guard import build_guard
from forebay.stream.admin.responses import json_response
from forebay.stream.admin.server import AdminServer, page_routes
from forebay.stream.config.sections import AdminSection
from forebay.stream.core.clock import SystemClock
from tests.admin.test_page import ARTEFACTS, browser, opened
from tests.core.build import JULY

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

Document = dict[str, Any]
Serve = Callable[..., AbstractAsyncContextManager[Page]]
NOW_S = JULY // 1000
COLUMNS = ("latency_p50", "latency_p95", "latency_p99", "batch_mean", "batch_max", "lag")


def status(*, outcomes: Document | None = None, **changes: Any) -> Document:
    """Return the status of a healthy worker without events. changes: fields to replace, nested as in `health__paused`."""
    document: Document = {
        "at": JULY,
        "worker": "worker-0",
        "host": "host",
        "pid": 7,
        "release": "0.1.0",
        "uptime_s": 3_700.0,
        "model": {"name": "late", "version": 3},
        "processing_guarantee": "exactly_once",
        "health": {
            "live": True,
            "ready": True,
            "started": True,
            "reasons": [],
            "cluster": "ok",
            "cluster_answered_ago_s": 0.7,
            "paused": False,
            "loop_delay_ms": 1.0,
        },
        "group": {"id": "group", "joined": True, "gate": "open", "generation": 2, "members": []},
        "input_topics": ["prod.features"],
        "partitions": [{"topic": "prod.features", "partition": 0, "position": 1_234_567, "end": 1_234_567, "lag": 0}],
        "lag": 0,
        "in_flight": {"events": 0, "max_events": 1000},
        "window": {"kind": "none", "max_batch_size": 256, "max_queue_delay_ms": 5},
        "breakers": {
            name: {"state": "closed", "failures_in_a_row": 0, "tries_again_in_s": None} for name in ("model", "cluster")
        },
        "totals": {"outcomes": outcomes or {}, "kinds": {}, "batches": 9, "commits": 7, "rewinds": 0},
        "now": {
            "span_s": 10,
            "events_per_s": 0.0,
            **dict.fromkeys((f"{outcome.value}_per_s" for outcome in Outcome), 0.0),
            **dict.fromkeys(("batch_mean", "batch_max", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms")),
            **dict.fromkeys(("model_p50_ms", "model_p99_ms")),
        },
        "errors": [],
        "last_warnings": [],
        "history": history(),
    }
    for path, value in changes.items():
        *parts, last = path.split("__")
        target = document
        for part in parts:
            target = target[part]
        target[last] = value
    document.setdefault("models", [one_model(document)])
    return document


def one_model(document: Document) -> Document:
    """Return the entry of an only model: it has the values of the worker."""
    return document["model"] | {
        "topics": document["input_topics"],
        "blocked": None,
        "breaker": document["breakers"]["model"],
        "in_flight": {"events": 0, "waiting_batches": 0, "model_call_for_s": 0.0},
        "window": document["window"],
        "totals": document["totals"],
        "now": document["now"],
    }


def history(seconds: int = 120, **columns: list[Any]) -> Document:
    """Return samples of the last seconds of an idle worker, except for these columns."""
    quiet: Document = {"at": list(range(NOW_S - seconds, NOW_S))}
    quiet |= {outcome.value: [0] * seconds for outcome in Outcome}
    quiet |= {name: [None] * seconds for name in COLUMNS}
    return quiet | columns


def error(kind: str, outcome: str, count: int, message: str) -> Document:
    return {
        "kind": kind,
        "outcome": outcome,
        "stage": "decode",
        "count": count,
        "last_seen": JULY,
        "message": message,
        "samples": [f"prod.flight-features-{number}@123456789{number}" for number in range(3)],
        "description": "",
        "remedy": "send a value",
    }


@pytest_asyncio.fixture(loop_scope="module")
async def serve(browser: Browser) -> AsyncIterator[Serve]:
    """Return a function that serves a status and opens the page for it."""

    @asynccontextmanager
    async def serving(document: Document, **options: Any) -> AsyncIterator[Page]:
        async def answer(_request: web.Request) -> web.Response:
            return json_response(document)

        section = AdminSection(port=0)
        routes = [*page_routes(), web.get("/status", answer)]
        server = AdminServer(
            section, routes, build_guard(section, clock=SystemClock()), bootstrap_servers="localhost:9092"
        )
        url = await server.start()
        try:
            settings = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
            async with opened(browser, url, **settings) as (page, complaints):
                await expect(page.locator("#model")).to_contain_text("late v3")
                yield page
                assert complaints == []
        finally:
            await server.stop()

    yield serving


async def screenshot(page: Page, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


async def test_the_page_of_an_idle_worker_shows_the_next_step(serve: Serve) -> None:
    async with serve(status()) as page:
        await expect(page.locator("#no-events")).to_contain_text("Publish one to prod.features")
        await expect(page.locator("#no-events")).to_contain_text("forebay publish --features")
        await expect(page.locator("#rate-note")).to_have_text("no events arrive")
        await expect(page.locator("#chart-rate .empty")).to_have_text("No events in this span.")
        await expect(page.locator("#windows")).to_be_hidden()
        await expect(page.locator("#chart-windows")).to_be_hidden()
        await expect(page.locator("#group")).to_be_hidden()
        await screenshot(page, "empty")


NO_PARTITIONS: list[tuple[Document, str]] = [
    ({}, "other workers of the group have all of them"),
    ({"group__joined": False}, "the worker is joining its group"),
    ({"group__gate": "closed"}, "the group is being rebalanced"),
    ({"health__cluster_answered_ago_s": 40.2}, "the cluster has not answered for 40 s"),
]


async def test_without_partitions_the_page_shows_the_reason(serve: Serve) -> None:
    for changes, words in NO_PARTITIONS:
        async with serve(status(partitions=[], **changes)) as page:
            await expect(page.locator("#no-partitions")).to_contain_text(words)


async def test_events_and_windows_have_separate_ledgers(serve: Serve) -> None:
    counts = {"accepted": 900, "late": 20, "rejected": 80, "window_predicted": 38, "window_failed": 2}
    columns = {name: [count // 20] * 120 for name, count in counts.items()}
    document = status(
        outcomes=counts,
        window={
            "kind": "tumbling",
            "max_batch_size": 256,
            "max_queue_delay_ms": 5,
            "open_windows": 12,
            "buffered_rows": 345,
        },
        now__events_per_s=50.0,
        now__window_predicted_per_s=1.9,
        now__window_failed_per_s=0.1,
        errors=[
            error("late", "late", 20, "the event came late"),
            error("model_error", "window_failed", 2, "raised"),
            error("not_json", "rejected", 1, "it is not JSON"),
        ],
        history=history(**columns),
    )
    async with serve(document) as page:
        events, windows = page.locator("#events"), page.locator("#windows")
        await expect(events.locator(".total")).to_have_text("1,000 events")
        assert (
            await events.locator(".legend").inner_text() == "accepted 900 (90.0%)\nlate 20 (2.0%)\nrejected 80 (8.0%)"
        )
        await expect(windows.locator(".total")).to_have_text("40 windows")
        assert await windows.locator(".legend").inner_text() == "predicted 38 (95.0%)\nfailed 2 (5.0%)"
        await expect(page.locator("#rate-note")).to_have_text("2 windows per second")
        assert await page.locator("#errors td.number").all_inner_texts() == [
            "20 events",
            "00:00:00",
            "2 windows",
            "00:00:00",
            "1 event",
            "00:00:00",
        ]
        # All outcomes have different colours, in ledgers and charts.
        looks = "(items) => items.map((item) => getComputedStyle(item, '::before').backgroundColor)"
        colours = await page.locator("#events .legend li, #windows .legend li").evaluate_all(looks)
        assert len(set(colours)) == len(colours) == 5
        charts = await page.locator("#chart-rate .legend li, #chart-windows .legend li").evaluate_all(looks)
        assert charts == colours
        assert await page.locator("#chart-rate .area").count() == 3
        assert await page.locator("#chart-windows .area").count() == 1  # 2 // 20 failed: no area
        await screenshot(page, "windows")


async def test_the_lag_is_unknown_while_the_cluster_is_silent(serve: Serve) -> None:
    document = status(
        outcomes={"predicted": 5},
        health__cluster_answered_ago_s=40.2,
        health__cluster="failing",
        lag=None,
        history=history(lag=[5] * 80 + [None] * 40),
    )
    async with serve(document) as page:
        await expect(page.locator("#lag")).to_have_text("–")
        for note in ("#lag-note", "#rate-note", "#banner"):
            await expect(page.locator(note)).to_contain_text("the cluster has not answered for 40 s")
        await expect(page.locator("#health")).to_have_text("degraded")
        assert await page.locator("#partitions td.number").all_inner_texts() == ["0", "1,234,567", "–", "–"]
        await screenshot(page, "broker-down")


IDLE: list[tuple[Document, str]] = [
    ({"health__paused": True}, "reading is paused"),
    ({"health__ready": False}, "not ready"),
    ({"partitions": []}, "no partitions assigned"),
    ({"lag": 9}, "no events finished"),
    ({"health__cluster_answered_ago_s": None, "health__cluster": "unknown"}, "the cluster has not answered yet"),
    ({"health__cluster": "failing"}, "the cluster refuses commits"),
]


async def test_the_page_of_a_worker_that_finishes_nothing_shows_the_reason(serve: Serve) -> None:
    for changes, words in IDLE:
        async with serve(status(**changes)) as page:
            await expect(page.locator("#rate-note")).to_have_text(words)


async def test_one_spike_does_not_flatten_a_chart_and_is_marked(serve: Serve) -> None:
    rates = [100 + second % 7 for second in range(120)]
    rates[60], rates[100] = 90_000, 100_000
    lag = [20] * 120
    lag[30] = 50_000
    async with serve(status(history=history(predicted=rates, lag=lag))) as page:
        # The usual values fill the upper half of the chart.
        box = "(path) => { const b = path.getBBox(); return [b.y, b.height]; }"
        top, height = await page.locator("#chart-rate .area").evaluate(box)
        assert top + height > 100 and height > 100
        assert await page.locator("#chart-rate .spike").all_text_contents() == ["▲ 90.0k", "▲ 100k"]
        assert await page.locator("#chart-lag .spike").all_text_contents() == ["▲ 50.0k"]
        axis = await page.locator("#chart-rate text[text-anchor=end]").all_text_contents()
        assert "150" in axis and "100k" not in axis
        await screenshot(page, "spike")


async def test_a_single_sample_is_visible(serve: Serve) -> None:
    alone: list[Any] = [None] * 120
    alone[50] = 42.0
    once = [0] * 120
    once[50] = 3
    document = status(history=history(latency_p50=alone, latency_p99=alone, predicted=once, window_predicted=once))
    async with serve(document) as page:
        assert await page.locator("#chart-latency circle.dot").count() == 2
        width = await page.locator("#chart-rate .area").evaluate("(path) => path.getBBox().width")
        assert width > 2
        await screenshot(page, "lone")


async def test_a_first_sample_is_a_bar(serve: Serve) -> None:
    async with serve(status(history=history(1, predicted=[3]))) as page:
        assert await page.locator("#chart-rate .area").evaluate("(path) => path.getBBox().width") > 2


@pytest.mark.parametrize("width", [1280, 390])
async def test_positions_are_not_broken_over_lines(width: int, serve: Serve) -> None:
    document = status(errors=[error("missing_value", "rejected", 12_345, "feature `dep_delay` is null")])
    async with serve(document, viewport={"width": width, "height": 844}) as page:
        heights = "(cells) => cells.map((cell) => cell.getClientRects().length)"
        for cells in ("#errors .ids span", "#partitions td.number"):
            lines = await page.locator(cells).evaluate_all(heights)
            assert lines and set(lines) == {1}, cells
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await screenshot(page, f"positions-{width}")


async def test_the_span_is_chosen_above_the_charts(serve: Serve) -> None:
    async with serve(status()) as page:
        above = await page.locator("nav.span").bounding_box()
        below = await page.locator("#chart-rate").bounding_box()
        assert above is not None and below is not None and above["y"] + above["height"] <= below["y"]


async def test_the_page_links_to_the_other_workers_of_the_group(serve: Serve) -> None:
    def member(worker: str, url: str | None, **more: Any) -> Document:
        models = [{"name": "late", "version": 3}]
        partitions = [{"topic": "prod.features", "partition": number} for number in (0, 2)]
        return {"worker": worker, "url": url, "models": models, "partitions": partitions, "self": False} | more

    two = [{"name": "late", "version": 3}, {"name": "delay", "version": 1}]
    members = [
        member("worker-0", "http://10.0.0.1:8080", self=True, models=two),
        member("worker-1", "https://10.0.0.2:8080"),
        member("worker-2", None, partitions=[]),
        # Any member of the group chooses its address and its name.
        member("<b>evil</b>", "javascript:alert(1)"),
    ]
    async with serve(status(group__members=members)) as page:
        links = page.locator("#members a")
        assert await links.all_inner_texts() == ["worker-1"]
        assert await links.first.get_attribute("href") == "https://10.0.0.2:8080"
        assert await links.first.get_attribute("rel") == "noreferrer noopener"
        rows = await page.locator("#members tbody tr").all_inner_texts()
        assert [row.split("\t") for row in rows] == [
            ["worker-0 this page", "late v3 · delay v1", "prod.features 0,2"],
            ["worker-1", "late v3", "prod.features 0,2"],
            ["worker-2 no admin API", "late v3", "none"],
            ["<b>evil</b>", "late v3", "prod.features 0,2"],
        ]
