"""The benchmark of whole workers by format: every format's events hold the same rows, and every worker predicts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import format_events
from benchmarks.field import Run
from benchmarks.format_rates import (
    ARROW_SHARE,
    BASELINE,
    INPUTS,
    Input,
    contestants,
    measure,
    summarise,
    to_table,
    worker_config,
)
from benchmarks.formats import Record
from benchmarks.stages import EPOCH, TIMESTAMP_MS
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import KafkaSection, ModelSection, Settings, TopicsSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import EventFormats
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore

EVENTS = 1_024
RECORDS = 2


def decoded(each: Input) -> tuple[list[str], list[int], Any]:
    """Return the ids, times and rows of the first records of an input, as a worker decodes them."""
    store = SchemaStore()
    if each.schema is not None:
        kind, text = each.schema
        store.put(RegisteredSchema(SchemaRef(id=7), "PROTOBUF" if kind == "PROTOBUF" else "AVRO", text))
    settings = FormatSettings() if each.format is None else FormatSettings(default=each.format)
    signature = format_events.MIXED if each.model == "mixed" else format_events.NUMBERS
    decoder = Decoder(
        [DecodedModel(ModelRef("bench", 1), signature)],
        max_event_bytes=1 << 20,
        formats=EventFormats(FormatChoice(settings, store)),
    )
    events = each.events(7)
    records = [
        Record(number, TIMESTAMP_MS, events.key(number), value=events.value(number, TIMESTAMP_MS), headers=())
        for number in range(RECORDS)
    ]
    (chunk,) = decoder.decode({TopicPartition(each.topic, 0): records}, EPOCH)
    assert not chunk.rejections
    return list(chunk.ids), list(chunk.timestamps), chunk.x_BF


@pytest.mark.parametrize("each", INPUTS, ids=lambda each: each.topic)
def test_the_events_of_each_format_hold_the_rows_of_the_data_set(each: Input) -> None:
    ids, times, x_BF = decoded(each)
    count = RECORDS * each.rows
    assert ids == [f"event-{number}" for number in range(count)]
    assert times == [TIMESTAMP_MS] * count
    if each.model == "numbers":
        np.testing.assert_array_equal(x_BF, format_events.number_rows()[:count])
        return
    codes = {text: float(code) for code, text in enumerate(format_events.TEXTS)} | {None: np.nan}
    share = 0.0 if each.topic == "protobuf" else format_events.NULL_SHARE
    rows = [
        [codes[value] if value is None or isinstance(value, str) else value for value in row.values()]
        for row in format_events.mixed_rows(null_share=share)[:count]
    ]
    assert any(None in row.values() for row in format_events.mixed_rows(null_share=share)) == bool(share)
    np.testing.assert_array_equal(x_BF, np.array(rows, dtype=np.float32))


@pytest.mark.parametrize("each", INPUTS, ids=lambda each: each.topic)
def test_a_worker_reads_its_topic_in_its_format(each: Input, tmp_path: Path) -> None:
    shared = Settings(
        kafka=KafkaSection(bootstrap_servers="broker.example:9092"),
        model=ModelSection(repository=str(tmp_path)),
        topics=TopicsSection(prefix="bench-", partitions=3),
    )
    file = tmp_path / "forebay.toml"
    file.write_text(worker_config(shared, each, "http://registry.example:8081"), encoding="utf-8")
    settings = load_settings(file, {}).settings
    assert settings.input.topics == (each.topic,)
    assert settings.input.format == (each.format or "auto")
    assert bool(settings.schema_registry.urls) == (each.schema is not None)
    assert settings.model.name == each.model
    assert (settings.topics.prefix, settings.topics.partitions) == ("bench-", 3)


def test_workers_are_compared_with_json_round_by_round() -> None:
    runs = {
        BASELINE: [Run(1_000, 1.0, 0.5, peak_rss_mib=1.0), Run(1_000, 2.0, 1.0, peak_rss_mib=1.0)],
        "Arrow": [Run(1_000, 0.5, 0.1, peak_rss_mib=1.0), Run(1_000, 0.5, 0.4, peak_rss_mib=2.0)],
    }
    summary = summarise(runs)
    assert summary["Arrow"]["events_per_s"] == {"median": 2_000, "min": 2_000, "max": 2_000}
    assert summary["Arrow"]["cpu_us"] == pytest.approx({"median": 250, "min": 100, "max": 400})
    assert summary["Arrow"]["ratio"] == pytest.approx(3.0)  # of 2 and 4
    assert summary["Arrow"]["cpu_ratio"] == pytest.approx(0.3)  # of 0.2 and 0.4
    assert "ratio" not in summarise({"Arrow": runs["Arrow"]})["Arrow"]
    assert to_table(summary, "").row_count == 2


def test_each_hand_written_worker_drains_the_topic_of_one_of_ours() -> None:
    workers = contestants()
    for name in ("Avro floats", "Avro nullable, 4 strings", "Protobuf, 4 strings"):
        other, each = workers[f"confluent: {name}"]
        assert (other.topic, other.model) == (workers[name][0].topic, each.model)
    assert {worker.processing_guarantee for worker, _ in workers.values()} == {"exactly_once", "at_least_once"}


@pytest.mark.embedded
@pytest.mark.long
async def test_each_event_is_predicted_once() -> None:
    only = ("confluent: Avro nullable, 4 strings", "Arrow")
    _, runs = await measure(
        rounds=1,
        events=EVENTS,
        partitions=2,
        broker="embedded",
        only=only,
        begin=lambda _name, _total: lambda _done: None,
    )
    counts = {name: [run.events for run in of_name] for name, of_name in runs.items()}
    assert counts == {only[0]: [EVENTS], only[1]: [EVENTS * ARROW_SHARE]}
