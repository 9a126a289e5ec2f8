"""The benchmark of several models: the configurations of its workers, their events, and the ratios."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.field import Run
from benchmarks.lanes import IDLE, VARIANTS, Variant, measure, summarise, to_table, worker_config
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import KafkaSection, ModelSection, Settings, TopicsSection

EVENTS = 2_000


def make_runs(rates: dict[str, list[float]]) -> dict[str, list[Run]]:
    return {name: [Run(1_000, 1.0, 1_000 / rate, 100.0) for rate in of_name] for name, of_name in rates.items()}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_worker_serves_the_models_of_its_variant(variant: Variant, tmp_path: Path) -> None:
    shared = Settings(
        kafka=KafkaSection(bootstrap_servers="broker.example:9092"),
        model=ModelSection(repository=str(tmp_path)),
        topics=TopicsSection(prefix="bench-", partitions=3),
    )
    file = tmp_path / "forebay.toml"
    file.write_text(worker_config(shared, variant), encoding="utf-8")
    settings = load_settings(file, {}).settings
    assert [served.model.name for served in settings.models_to_serve()] == list(variant.models)
    assert {served.model.repository for served in settings.models_to_serve()} == {str(tmp_path)}
    assert settings.input.topics == (variant.topic,)
    assert settings.kafka.bootstrap_servers == "broker.example:9092"
    assert (settings.topics.prefix, settings.topics.partitions) == ("bench-", 3)


def test_nine_of_the_ten_models_are_idle() -> None:
    (ten,) = (variant for variant in VARIANTS if variant.name == "ten")
    assert len(ten.models) == len(set(ten.models)) == 10
    assert set(ten.models[1:]) == set(IDLE)


def test_two_models_are_compared_with_half_of_the_events_at_each_rate() -> None:
    # 1 event at 300/s and 1 at 100/s take 1/75 s, so 150 events/s.
    summary = summarise(
        make_runs({"wide": [300, 30], "narrow": [100, 10], "two": [120, 13.5], "ten": [270, 33]}),
    )
    two, ten = summary["two"]["ratio"], summary["ten"]["ratio"]
    assert two["rounds"] == pytest.approx([0.8, 0.9])  # type: ignore[index]
    assert two["mean"] == pytest.approx(0.72**0.5)  # type: ignore[index]
    assert two["lower_95"] < 0.8  # type: ignore[index]
    assert ten["rounds"] == pytest.approx([0.9, 1.1])  # type: ignore[index]
    assert "ratio" not in summary["wide"]
    assert to_table(summary, "").row_count == 4


def test_a_single_round_has_no_lower_bound() -> None:
    summary = summarise(make_runs({"wide": [300], "narrow": [100], "two": [120], "ten": [270]}))
    assert summary["two"]["ratio"]["lower_95"] is None  # type: ignore[index]
    assert to_table(summary, "").row_count == 4


@pytest.mark.embedded
@pytest.mark.long
async def test_each_variant_predicts_each_event_once() -> None:
    _, runs = await measure(
        rounds=1,
        events=EVENTS,
        partitions=2,
        broker="embedded",
        bootstrap_server=None,
        begin=lambda _name, _total: lambda _done: None,
    )
    assert {name: [run.events for run in of_name] for name, of_name in runs.items()} == {
        variant.name: [EVENTS] for variant in VARIANTS
    }
