"""The command `forebay models experiment`."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from aiokafka import TopicPartition
from rich.console import Console

from forebay.stream.cli import main
from forebay.stream.cli.models_experiment_render import experiment_text, nothing_text, verdict_text
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import SystemClock
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.experiment import Outcome, Plan
from forebay.stream.experiments.paired_sums import PairedSums, PredictedBy
from forebay.stream.experiments.report import Comparison, ExperimentView, report
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.wire import QualityParts, decode_quality, encode_parts
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.experiments.pairs import random_pairs
from tests.experiments.test_experiment import arm
from tests.rollouts.simulated_rollout import canary_revision

HOUR = 3_600_000


def record(version: int, start_ms: int, parts: QualityParts, *, model: str = "m") -> bytes:
    return encode_parts(
        QualityKey(model, version, start_ms), parts, window_s=3600, group="forebay-evaluate", worker="w"
    )[1]


def shadow_pairs() -> PairedSums:
    pairs = random_pairs(Task.BINARY, 20_000)
    worse = 0.5 + (pairs.scores_BO - 0.5) * np.float32(0.5)
    served, shadow = PredictedBy(pairs.scores_BO, pairs.classes_B), PredictedBy(worse, pairs.classes_B)
    paired = PairedSums(Task.BINARY, served=1)
    paired.add_pairs(pairs.blocks_B, served, shadow, pairs.actual_B)
    return paired


def view_of(*records: bytes, since_ms: int = 0) -> ExperimentView:
    view = ExperimentView("m", group="forebay-evaluate", since_ms=since_ms)
    for value in records:
        view.read(value)
    return view


def compared(view: ExperimentView, *, shares: dict[int, float] | None = None) -> list[Comparison]:
    return report(view, metric=None, plan=Plan(0.05, 0.1), against=None, shares=shares or {})


def text_of(view: ExperimentView, comparisons: list[Comparison]) -> str:
    written = StringIO()
    Console(width=200, file=written).print(experiment_text("m", view, comparisons))
    return written.getvalue()


def test_a_canary_and_a_shadow_are_compared() -> None:
    view = view_of(
        record(1, 0, QualityParts(blocks=arm(10_000, seed=1))),
        record(1, HOUR, QualityParts(blocks=arm(20_000, seed=2))),
        record(2, HOUR, QualityParts(blocks=arm(20_000, seed=3, factor=0.2))),
        record(3, HOUR, QualityParts(paired=shadow_pairs())),
        record(7, HOUR, QualityParts(blocks=arm(10, seed=1)), model="other"),
        b"{}",
    )
    assert (view.first_ms, view.last_ms, view.rejected, view.other_models) == (0, 2 * HOUR, 1, {"other"})
    canary, shadow = compared(view)
    assert canary.versions == (2, 1) and canary.result.outcome is Outcome.WORSE and not canary.paired
    assert canary.result.control.events == 30_000
    assert shadow.versions == (3, 1) and shadow.result.outcome is Outcome.WORSE and shadow.paired
    assert shadow.right is not None and shadow.right.only_served == 0
    text = text_of(view, [canary, shadow])
    assert "version 2 against version 1, by log loss" in text
    assert "95.0 %" not in text and "0.95 confidence at all times" in text
    assert "version 2 is worse" in text and "version 3 is worse" in text
    assert "only v1: 0, only v3: 0" in text
    document = json.loads(json.dumps([canary.to_dict(), shadow.to_dict()]))
    assert [entry["verdict"] for entry in document] == ["worse", "worse"]
    assert document[1]["right"]["only_against"] == 0


def test_what_is_inconclusive_says_how_much_longer() -> None:
    view = view_of(
        record(1, 0, QualityParts(blocks=arm(1500, seed=1))), record(2, 0, QualityParts(blocks=arm(1500, seed=2)))
    )
    (comparison,) = compared(view)
    needed = comparison.result.events_needed
    assert comparison.result.outcome is Outcome.INCONCLUSIVE and needed
    assert comparison.time_needed_ms == -(-needed * HOUR // 1500)
    assert verdict_text(comparison).startswith(f"inconclusive; needs at least {needed:,} more events of version 2 with")
    assert "minutes at this rate" in text_of(view, [comparison])


def test_wrong_shares_and_missing_labels_are_warned_of() -> None:
    unlabelled = BlockSums(Task.BINARY)
    unlabelled.add_predictions(random_pairs(Task.BINARY, 4000).blocks_B)
    view = view_of(
        record(1, 0, QualityParts(blocks=arm(9000, seed=1))),
        record(2, 0, QualityParts(blocks=arm(3000, seed=2))),
        record(2, 0, QualityParts(blocks=unlabelled)),
    )
    (comparison,) = compared(view, shares={1: 0.75, 2: 0.25})
    text = text_of(view, [comparison])
    assert "of the keys instead of 25.00%" in text
    assert "labels are not missing at random: 42.8% of" in text


def test_versions_without_labels_have_no_verdict() -> None:
    unlabelled = BlockSums(Task.BINARY)
    unlabelled.add_predictions(random_pairs(Task.BINARY, 400).blocks_B)
    view = view_of(record(1, 0, QualityParts(blocks=arm(1000, seed=1))), record(2, 0, QualityParts(blocks=unlabelled)))
    (comparison,) = compared(view)
    assert verdict_text(comparison) == "no data: version 2 has no labels yet"
    assert "no data" in text_of(view, [comparison])


def test_records_of_other_groups_are_left_out_and_named() -> None:
    view, parts = ExperimentView("m", group="again", since_ms=0), QualityParts(blocks=arm(300, seed=1))
    view.read(record(1, 0, parts))
    assert view.arms == {} and view.other_groups == {"forebay-evaluate"}


def test_nothing_to_compare_says_why() -> None:
    one = record(1, HOUR, QualityParts(blocks=arm(10, seed=1)))
    assert "only version 1 of m has predictions" in nothing_text("m", view_of(one), since_ms=0).plain
    assert "earlier ones did" in nothing_text("m", view_of(one, since_ms=2 * HOUR), since_ms=2 * HOUR).plain
    other = record(1, HOUR, QualityParts(blocks=arm(10, seed=1)), model="x")
    assert "only of x" in nothing_text("m", view_of(other), since_ms=0).plain
    assert "is `forebay evaluate` running" in nothing_text("m", view_of(), since_ms=0).plain
    assert compared(view_of()) == []


def test_the_command_compares_since_the_canary_began(
    embedded_broker: Broker,
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap), topics=TopicsSection(prefix=names(""))
    )
    later = time.time_ns() // 1_000_000 + 60_000

    async def prepare() -> None:
        for name in ("quality", "rollouts"):
            await create_topic(embedded_broker.bootstrap, names(name), 1)
        store = RolloutStore(settings, clock=SystemClock())
        await store.start()
        await store.propose(replace(canary_revision((50,)), route_by="customer"))
        await store.stop()
        values = [
            record(1, later - 2 * HOUR, QualityParts(blocks=arm(5000, seed=4))),
            record(1, later, QualityParts(blocks=arm(20_000, seed=1))),
            record(2, later, QualityParts(blocks=arm(20_000, seed=2, factor=0.2))),
        ]
        assert all(decode_quality(value).blocks for value in values)
        async with producer(embedded_broker.bootstrap) as writer:
            await send_batch(writer, TopicPartition(names("quality"), 0), values)

    def forebay(*arguments: str) -> tuple[int, str, str]:
        place = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
        status = main(["models", "experiment", "m", *arguments, *place, "--set", "rollouts.enabled=true"])
        output = capsys.readouterr()
        return status, output.out, output.err

    status, _, err = forebay()
    assert status == 1 and "there is no topic" in err
    asyncio.run(prepare())
    status, out, err = forebay()
    assert status == 0 and err.startswith("note: versions get their keys by the field customer, and the unit here is")
    assert "v1" in out and "20,000" in out and "version 2 is worse" in out
    status, out, err = forebay("--json", "--metric", "brier", "--since", "1d")
    document = json.loads(out)
    (comparison,) = document["comparisons"]
    assert document["route_by"] == "customer"
    assert comparison["control"]["events"] == 25_000 and comparison["metric"] == "brier" and comparison["keys"] is None
    status, _, err = forebay("--metric", "mae")
    assert status == 2 and "has no metric 'mae' to compare versions by; it has accuracy, log_loss, brier" in err
