"""The command `forebay quality`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from aiokafka import TopicPartition
from rich.console import Console

from forebay.stream.cli import main
from forebay.stream.cli.quality_render import nothing_text, report_text
from forebay.stream.evaluate.quality_page import ServedPage, quality_page
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.report import quality_report
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.view import QualityView
from forebay.stream.quality.wire import LabelCounts, LabelProgress, QualityParts, encode_parts
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.quality.samples import Sample, binary, classes, regression

HOUR = 3_600_000


def record(key: QualityKey, parts: QualityParts) -> bytes:
    return encode_parts(key, parts, window_s=3600, group="forebay-evaluate", worker="w")[1]


def predictions_of(sample: Sample) -> QualitySums:
    sums = QualitySums(sample.task, sample.num_classes)
    sums.add_predictions(sample.scores_BO, sample.classes_B)
    return sums


def records(last_window: int) -> Iterator[bytes]:
    """Yield three windows of a binary model, the last without labels; one of each other task; slices; counts of labels."""
    for age, seed in ((2, 1), (1, 2), (0, 3)):
        sample = binary(400, seed)
        for part in (sample.rows(slice(0, 150)), sample.rows(slice(150, 400))):
            sums = part.sums() if age else predictions_of(part)
            yield record(QualityKey("late", 3, last_window - age * HOUR), QualityParts(sums=sums))
    first = last_window - 2 * HOUR
    yield record(QualityKey("late", 3, first, "origin=JFK"), QualityParts(sums=binary(60, 4).sums()))
    yield record(QualityKey("late", 3, first, "carrier=<b>"), QualityParts(sums=binary(40, 5).sums()))
    yield record(QualityKey("digits", 1, first), QualityParts(sums=classes(300, 6).sums()))
    yield record(QualityKey("minutes", 2, first), QualityParts(sums=regression(300, 7).sums()))
    labels = LabelCounts(labels=1500, used=1400, refused=3)
    progress = LabelProgress(horizon_ms=HOUR, until_ms={0: last_window + HOUR // 2, 1: last_window + HOUR // 3})
    yield record(QualityKey("", 0, first), QualityParts(labels=labels, progress=progress))


def test_the_command_reads_the_topic(
    embedded_broker: Broker,
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    topic, last_window = names("quality"), time.time_ns() // 1_000_000 // HOUR * HOUR

    async def create() -> None:
        await create_topic(embedded_broker.bootstrap, topic, 2)

    async def fill() -> None:
        async with producer(embedded_broker.bootstrap) as writer:
            await send_batch(writer, TopicPartition(topic, 1), [*records(last_window), b"not a record"])

    def forebay(*arguments: str) -> tuple[int, str, str]:
        place = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
        status = main(["quality", *arguments, *place])
        output = capsys.readouterr()
        return status, output.out, output.err

    status, _, err = forebay()
    assert status == 1 and "there is no topic" in err
    asyncio.run(create())
    status, out, err = forebay()
    assert (status, err) == (0, "") and "is `forebay evaluate` running, and do labels come?" in out
    asyncio.run(fill())
    status, out, err = forebay("--html", "page.html")
    assert status == 0 and "skipped 1 record that cannot be added: not a quality record" in err
    assert "late v3  two classes" in out and "origin=JFK" not in out
    assert (tmp_path / "page.html").read_text().count("<svg") == 4
    _, out, err = forebay("--json", "--model", "late", "--slice", "origin", "--slice", "carrier=AA")
    assert "no slice carrier=AA; there are: carrier, origin" in err
    document = json.loads(out)
    assert [(one["version"], one["slice"]) for one in document["quality"]] == [(3, ""), (3, "origin=JFK")]
    total, (_, second, third) = document["quality"][0]["total"], document["quality"][0]["windows"]
    assert (total["predictions"], total["matched"], document["labels"]["used"]) == (1200, 800, 1400)
    assert second["accuracy"] == metrics(binary(400, 2).sums()).accuracy
    assert "accuracy" not in third and third["estimate"]["accuracy"]["value"] == pytest.approx(0.75, abs=0.1)
    assert [one["final"] for one in document["quality"][0]["windows"]] == [True, False, False]
    assert "no predictions of this model and version were counted" in forebay("--model", "nothing")[1]
    status, out, err = forebay("--set", "evaluate.group_id=again")
    assert (
        "is `forebay evaluate` running" in out and "left out the records of other groups of evaluators: forebay-" in err
    )
    status, _, err = forebay("--html", "missing/page.html")
    assert status == 1 and "missing/page.html cannot be written" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "yesterday"], "--since 'yesterday' is not a time"),
        (["--version", "0"], "--version"),
        (["--interval", "0"], "--interval"),
        (["--html", "."], "is a directory"),
    ],
)
def test_invalid_options_are_reported(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["quality", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_served_page_has_its_style_in_a_file_of_the_server(view: QualityView) -> None:
    report = quality_report(view, since_ms=0, random=None)
    page = quality_page(report, served=ServedPage("/page/quality.css", 30))
    assert '<link rel="stylesheet" href="/page/quality.css"><meta http-equiv="refresh" content="30">' in page
    assert "<style>" not in page and "≈ 0.7" in page and "±" not in page.partition("<body>")[2].partition("late v3")[0]


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quality", "--help"]) == 0
    assert "forebay quality --html quality.html" in capsys.readouterr().out


@pytest.fixture(scope="module")
def view() -> QualityView:
    view = QualityView(group="forebay-evaluate")
    for value in records(500_000 * HOUR):
        view.read(value)
    return view


def text_of(renderable: object) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_table_has_estimates_beside_the_truth(view: QualityView) -> None:
    text = text_of(report_text(quality_report(view, since_ms=0, random=np.random.default_rng(0))))
    late = text.partition("late v3  two classes")[2].partition("minutes v2")[0].splitlines()
    assert late[1].split()[:4] == ["window", "predictions", "with", "label"] and late[1].count("≈") == 3
    assert "400 (100%)" in late[4] and "≈" in late[4] and late[4].rstrip().endswith("open")
    assert "0 (0%)" in late[5] and "–" in late[5] and "≈" in late[5]
    assert late[7].split()[:4] == ["all", "1,200", "800", "(67%)"]
    assert "digits v1  4 classes" in text and "F1 (macro)" in text and "RMSE" in text
    slices = text.partition("late v3, by slice")[2].splitlines()
    assert slices[3].startswith("carrier=<b>") and slices[4].startswith("origin=JFK")
    assert "1,500 labels since" in text and "1,400 used" in text


def test_nothing_to_show_is_explained(view: QualityView) -> None:
    report = quality_report(view, since_ms=600_000 * HOUR, random=np.random.default_rng(0))
    assert report.subjects == []
    older = nothing_text(report, newest_window=500_000 * HOUR, found=view.subjects()).plain
    assert older.endswith("the newest one is older: give --since 2027-01-15T08:00:00.000Z")
    assert (
        "only of digits v1, late v3, minutes v2"
        in nothing_text(report, newest_window=None, found=view.subjects()).plain
    )
    assert "is `forebay evaluate` running" in nothing_text(report, newest_window=None, found=()).plain


def test_the_page_needs_no_other_file_and_escapes_names(view: QualityView) -> None:
    page = quality_page(quality_report(view, since_ms=0, random=np.random.default_rng(0)))
    assert "carrier=&lt;b&gt;" in page and "<b>" not in page
    for title in ("Reliability", "ROC curve", "Accuracy by window", "actual \\ predicted", "prediction − actual value"):
        assert title in page

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img") and not {"src", "href"} & {name for name, _ in attrs}

    Checker().feed(page)
    assert "No quality was written" in quality_page(
        quality_report(QualityView(group="forebay-evaluate"), since_ms=0, random=np.random.default_rng(0))
    )
