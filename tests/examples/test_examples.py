"""The examples together, as a reader would run them: train a model, publish, serve, subscribe."""

from __future__ import annotations

import asyncio
import csv
import math
import os
import runpy
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import orjson
import pytest

from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.models.build import load_artefact, serve_artefact

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str, *arguments: str, code: int = 0) -> str:
    """Run an example as its docstring says and return its output."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=120, env=os.environ
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("publish.py", "127.0.0.1:1", "features"), ("subscribe.py", "127.0.0.1:1")])
def test_an_unreachable_broker_is_reported_in_one_sentence(arguments: tuple[str, ...]) -> None:
    told = example(*arguments, code=1)
    assert "127.0.0.1:1: KafkaConnectionError" in told and "Traceback" not in told


def message_of(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> str:
    """Run an example that ends with a message, in this process: a start with torch takes seconds."""
    monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert isinstance(ended.value.code, str)
    return ended.value.code


@pytest.mark.parametrize("script", ["publish.py", "subscribe.py", "train_model.py", "windows.py"])
@pytest.mark.parametrize("arguments", [(), ("--help",), ("--help", "-x")])
def test_options_print_the_usage(script: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert message_of(monkeypatch, script, *arguments).startswith(f"usage: python examples/{script} ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("subscribe.py", "localhost:9092", "many"),
        ("subscribe.py", "localhost:kafka"),
        ("subscribe.py", "localhost"),
        ("publish.py", "localhost:kafka", "features"),
        ("windows.py", "models", "july.csv", "many"),
    ],
)
def test_wrong_arguments_print_the_usage(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert message_of(monkeypatch, *arguments).startswith(f"usage: python examples/{arguments[0]} ")


def test_a_repository_that_cannot_be_written_is_reported_in_two_lines(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = example("train_model.py", str(tmp_path / "file" / "models"), code=1)
    assert told == (
        f"{tmp_path}/file/models/damp: cannot write the model: Not a directory\n"
        "hint: check the repository's path, its permissions and the free space\n"
    )


@pytest.mark.long
async def test_a_model_of_ones_own_from_training_to_its_predictions(
    embedded_broker: Broker, names: Names, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    assert "accuracy 9" in example("train_model.py", str(repository))
    assert "damp/2" in example("train_model.py", str(repository)), "the second one is the next version"

    config = tmp_path / "forebay.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{embedded_broker.bootstrap}"\ngroup_id = "{names("group")}"\n'
        f'[model]\nrepository = "{repository}"\nname = "damp"\n[topics]\nprefix = "{names("")}"\n[log]\nformat = "text"\n'
    )
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap), topics=TopicsSection(prefix=names(""))
    )
    await create_topics(settings)
    clock = SystemClock()
    worker = WorkerProcess(config, tmp_path / "log", environ=os.environ, clock=clock, die_with_parent=True)
    worker.start()
    try:
        await worker.wait_ready()
        published = await asyncio.to_thread(example, "publish.py", embedded_broker.bootstrap, names("features"))
        assert "published 100 events" in published
        # The topic prefix belongs to this test; the script sets none on its command line.
        code = (
            f"import asyncio, runpy\nmain = runpy.run_path({str(EXAMPLES / 'subscribe.py')!r})['main']\n"
            f"asyncio.run(main({embedded_broker.bootstrap!r}, 100, {names('')!r}))"
        )
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    finally:
        await worker.stop()
    lines = done.stdout.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted(f"reading-{number}" for number in range(100))
    assert all(" damp v2" in line for line in lines)
    assert {line.split(": ")[1].split(",")[0] for line in lines} == {"damp", "fine"}


@pytest.mark.long
async def test_a_model_of_windows_serves_as_it_was_trained(
    embedded_broker: Broker, names: Names, tmp_path: Path
) -> None:
    """A real worker predicts each window of flights by airport and hour once, with the same result as the model offline."""
    repository, july = tmp_path / "models", tmp_path / "july.csv"
    assert "validation ROC AUC 0.8" in await asyncio.to_thread(example, "windows.py", str(repository), str(july), "2")
    config = tmp_path / "forebay.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{embedded_broker.bootstrap}"\ngroup_id = "{names("group")}"\n'
        f'[model]\nrepository = "{repository}"\nname = "congestion"\n[topics]\nprefix = "{names("")}"\n'
        '[window]\nkind = "tumbling"\nsize_ms = 3600000\nidle_timeout_ms = 2000\n[log]\nformat = "text"\n'
    )
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap), topics=TopicsSection(prefix=names(""))
    )
    await create_topics(settings)
    worker = WorkerProcess(config, tmp_path / "log", environ=os.environ, clock=SystemClock(), die_with_parent=True)
    published = [
        sys.executable,
        "-m",
        "forebay",
        "publish",
        str(july),
        "--key-column",
        "origin",
        "--config",
        str(config),
    ]
    expected = expected_windows(july, repository)
    worker.start()
    try:
        await worker.wait_ready()
        done = await asyncio.to_thread(subprocess.run, published, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr

        async def predicted() -> dict[str, tuple[int, float]]:
            records = await read_committed(embedded_broker.bootstrap, names("predictions"), 4)
            said = [orjson.loads(record.value) for record in records]
            by_id = {one["id"]: (one["window"]["events"], one["prediction"][0]) for one in said}
            assert len(by_id) == len(records)
            return by_id

        found = await eventually(
            predicted, f"{len(expected)} windows", until=lambda seen: len(seen) >= len(expected), timeout_s=60
        )
    finally:
        await worker.stop()
    assert found.keys() == expected.keys()
    assert all(found[name][0] == expected[name][0] for name in expected)
    np.testing.assert_allclose([found[name][1] for name in expected], [one[1] for one in expected.values()], atol=1e-5)


def expected_windows(july: Path, repository: Path) -> dict[str, tuple[int, float]]:
    """Return the number of events and the model's offline prediction of each window, by id."""
    served = serve_artefact(load_artefact(repository, "congestion"))
    signature = served.signature
    assert signature.window is not None
    windows: dict[str, list[tuple[int, list[float]]]] = defaultdict(list)
    with july.open() as file:
        for row in csv.DictReader(file):
            t = int(row["timestamp"])
            start = t // 3_600_000 * 3_600_000
            features = [float(("EWR", "JFK", "LGA").index(row["origin"])), float(row["hour"]), float(row["distance"])]
            delay = float(row["dep_delay"]) if row["dep_delay"] else math.nan
            windows[f"{row['origin']}|{start}|{start + 3_600_000}"].append((t, [*features, delay]))
    events = [event for one in windows.values() for event in one]
    x_BD = signature.window.rows(
        np.array([features for _, features in events], dtype=np.float32),
        np.array([t for t, _ in events]),
        np.array([len(one) for one in windows.values()]),
        np.full(len(windows), 3_600_000),
    )
    values_B = served.forward(served.prepare(x_BD)).values_BO[:, 0].tolist()
    return {name: (len(one), value) for (name, one), value in zip(windows.items(), values_B, strict=True)}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_each_example_states_how_to_run_it_and_what_it_needs(path: Path) -> None:
    text = path.read_text()
    assert f"python examples/{path.name} " in text.split('"""')[1]
    assert f"usage: python examples/{path.name} " in text
