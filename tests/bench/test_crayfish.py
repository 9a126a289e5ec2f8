"""The workload of Crayfish: its events, its net, the ratios, and the group of workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from benchmarks.contestants.forebay_group import Totals
from benchmarks.crayfish import (
    JSON_TOPIC,
    MODEL,
    PUBLISHED,
    RAW_TOPIC,
    WIDTH,
    make_events,
    save_model,
    summarise,
    workers,
)
from benchmarks.field import Run
from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.backends.torch.backend import load_net


def test_the_net_has_the_parameters_of_crayfishs(tmp_path: Path) -> None:
    save_model(tmp_path)
    net = load_net(read_artefact(read_version(str(tmp_path), MODEL)))
    assert sum(parameter.numel() for parameter in net.parameters()) == 27_562
    assert net(torch.zeros(1, WIDTH)).shape == (1, 10)


def test_json_and_raw_events_have_the_same_images() -> None:
    json_events, raw_events = make_events()
    event = orjson.loads(json_events.value(7, 1_000))
    assert (event["id"], event["timestamp"]) == ("event-7", 1_000)
    assert raw_events.key(7) == b"event-7"
    image = np.frombuffer(raw_events.value(7, 1_000), dtype="<f4")
    assert image.shape == (WIDTH,)
    np.testing.assert_array_equal(np.array(event["features"], dtype=np.float32), image)


def test_each_worker_has_a_topic_and_a_parallelism() -> None:
    assert {(worker.topic, worker.parallelism, worker.runtime) for worker in workers()} == {
        (JSON_TOPIC, 1, "python"),
        (JSON_TOPIC, 2, "python"),
        (JSON_TOPIC, 1, "java"),
        (JSON_TOPIC, 2, "java"),
        (RAW_TOPIC, 1, "python"),
        (RAW_TOPIC, 2, "python"),
    }
    assert PUBLISHED


def test_forebay_is_compared_with_kafka_streams_of_the_same_parallelism() -> None:
    summary = summarise(
        {
            "forebay JSON ×1": [Run(100, 1.0, 1.0, 10.0)],
            "kafka streams JSON ×1": [Run(100, 4.0, 5.0, 10.0)],
            "forebay JSON ×2": [Run(100, 1.0, 1.0, 10.0)],
        }
    )
    assert summary["forebay JSON ×1"]["ratio"]["median"] == pytest.approx(4)
    assert summary["forebay JSON ×1"]["cpu_ratio"]["median"] == pytest.approx(5)
    assert "ratio" not in summary["forebay JSON ×2"]


def test_the_times_of_a_group_are_those_of_its_first_and_last_line_and_its_cpu_time_is_a_sum() -> None:
    totals = Totals()
    totals.add(0, {"count": 0, "at_s": 10.0, "cpu_s": 1.0})
    totals.add(1, {"count": 0, "at_s": 11.0, "cpu_s": 2.0})
    totals.add(0, {"count": 30, "at_s": 13.0, "cpu_s": 3.0})
    totals.add(1, {"count": 70, "at_s": 14.0, "cpu_s": 2.5})
    assert totals.figures([100.0, 50.0]) == {"events": 100, "seconds": 4.0, "cpu_s": 2.5, "peak_rss_mib": 150.0}
