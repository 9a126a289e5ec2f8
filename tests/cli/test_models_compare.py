"""The command `forebay models compare`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.stream.cli import main
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.comparison import Side
from forebay.stream.rollouts.shadow_prediction import PairSource, SideFormat, encode_pairs, json_numbers
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names

HOUR_MS = 3_600_000


def pairs(model: str, *, first_offset: int, shift: float, count: int = 50) -> list[bytes]:
    """Return pairs of version 3, and the shadow 4 whose probability of class 1 is larger by `shift`."""
    scores_B = np.linspace(0, 0.9, count, dtype=np.float32)
    written = []
    for version, values_B in ((3, scores_B), (4, scores_B + np.float32(shift))):
        classes_B = (values_B >= 0.5).astype(np.int64)
        side = Side(values_B[:, None], classes_B, np.zeros(count, np.bool_), call_s=version / 1000, num_rows=count)
        side_format = SideFormat(version=version, labels=("good", "fraud"), num_classes=2)
        written.append(side_format.write(side, json_numbers(np.maximum(values_B, 1 - values_B)), [None] * count))
    offsets = range(first_offset, first_offset + count)
    source = PairSource(
        TopicPartition("features", 1),
        [f"e{offset}" for offset in offsets],
        offsets,
        timestamps=[0] * count,
        rows=[None] * count,
    )
    return encode_pairs(model, 1, source, primary=written[0], shadow=written[1])


@pytest.fixture
def place(embedded_broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Create the topic with pairs of two models, half of them older than an hour; return the options that name it."""
    monkeypatch.chdir(tmp_path)

    async def prepare() -> None:
        topic = names("shadow-predictions")
        await create_topic(embedded_broker.bootstrap, topic, 2)
        async with producer(embedded_broker.bootstrap) as writer:
            where = ClientTopicPartition(topic, 1)
            await send_batch(
                writer,
                where,
                [*pairs("fraud", first_offset=0, shift=0.1), *pairs("fraud", first_offset=50, shift=0.001)],
                timestamps=[1_600_000_000_000] * 50 + [1_700_000_000_000] * 50,
            )
            await send_batch(writer, where, [*pairs("churn", first_offset=0, shift=0.0), b"not a pair"])

    asyncio.run(prepare())
    return ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]


def test_shadows_are_compared_from_the_topic(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["models", "compare", *arguments, *place])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    status, out, err = run("fraud", "--shadow")
    lines = out.splitlines()
    assert status == 0, err
    assert "skipped 1 record that cannot be read" in err
    assert lines[0] == "fraud: shadow 4 against version 3"
    assert lines[1].startswith("pairs            100 (events from")
    assert "agreement        94.00 % (" in lines[2] and "6 differ" in lines[2]
    assert "latency p50      3.00 ms → 4.00 ms (1.33 times)" in out
    assert "time per event   1.33 times as long" in out
    assert sum("features:1@" in line for line in lines) == 10

    status, out, _ = run("fraud", "--shadow", "--since", "1650000000000", "--limit", "3", "--json")
    (found,) = json.loads(out)["comparisons"]
    assert (status, found["events"], found["agreement"]["disagreed"]) == (0, 50, 0)
    assert len(found["largest_differences"]) == 3
    assert found["differences"]["max"] == pytest.approx(0.001, rel=0.01)

    status, out, err = run("other", "--shadow")
    assert (status, out) == (0, "")
    assert "holds no pair of other; it holds pairs of churn, fraud" in err

    status, _, err = run("fraud")
    assert status == 2
    assert "give --shadow" in err
