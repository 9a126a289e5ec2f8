"""The example recipes end to end: train from a CSV file, register, serve on a broker, and compare with offline predictions."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import numpy as np
import orjson
import pytest

from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_model
from forebay.models.training.recipe import read_recipe
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.clock import SystemClock
from forebay.stream.decode.features import FeaturePacker
from forebay.stream.embedded.worker_process import WorkerProcess
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.examples.test_examples import EXAMPLES, example


@pytest.mark.parametrize("recipe", ["flights.toml", "tumours.toml"])
def test_the_recipes_can_be_read(recipe: str) -> None:
    assert read_recipe(EXAMPLES / recipe).registration.name


def forebay(folder: Path, *arguments: str) -> str:
    """Run a command in a folder and return its output."""
    command = [sys.executable, "-m", "forebay", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def offline_scores(repository: Path, events: Path) -> dict[str, float]:
    """Return the model's score of each row of a file of numbers, by id."""
    model = load_model(repository, "tumours", options=RunOptions())
    with events.open() as file:
        rows = list(csv.DictReader(file))
    packer = FeaturePacker(model.signature)
    coded = [packer.exact({name: float(value) for name, value in row.items() if name != "id"}) for row in rows]
    x_NF = np.frombuffer(b"".join(coded), dtype="<f4").reshape(len(rows), -1)
    scores_N = model.forward(model.prepare(x_NF)).values_BO[:, 0]
    return dict(zip((row["id"] for row in rows), scores_N.tolist(), strict=True))


@pytest.mark.long
def test_the_recipe_of_flights_trains_on_a_sample_of_its_rows(tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        written = run_path(str(EXAMPLES / "flights_rows.py"))["main"](tmp_path / "all.csv")
    with (tmp_path / "all.csv").open() as source, (tmp_path / "flights.csv").open("w") as target:
        target.writelines(line for number, line in enumerate(source) if number % 50 == 0)  # the header too
    options = ["--set", "training.epochs=4", "--set", "training.batch_size=256", "--json", "--cache-dir", "cache"]
    options += ["--set", f"data.path={tmp_path / 'flights.csv'}", "--set", f"register.repository={tmp_path / 'models'}"]
    trained = json.loads(forebay(tmp_path, "train", str(EXAMPLES / "flights.toml"), *options))
    assert sum(trained["rows"].values()) > written / 50 * 0.95
    assert trained["metrics"]["test"]["roc_auc"] > 0.85
    model = load_model(tmp_path / "models", "flights-late", options=RunOptions())
    assert model.signature.labels == ("on time", "late")


@pytest.mark.long
async def test_a_model_that_was_trained_from_a_recipe_serves_what_it_predicts_offline(
    embedded_broker: Broker, names: Names, tmp_path: Path
) -> None:
    rows, events = tmp_path / "tumours.csv", tmp_path / "events.csv"
    await asyncio.to_thread(example, "tumours_rows.py", str(rows))
    options = [
        "--set",
        f"data.path={rows}",
        "--set",
        "training.epochs=8",
        "--json",
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    recipe = str(EXAMPLES / "tumours.toml")
    trained = json.loads(await asyncio.to_thread(forebay, tmp_path, "train", recipe, *options))
    assert trained["metrics"]["test"]["accuracy"] > 0.9
    with rows.open() as source, events.open("w", newline="") as target:
        csv.writer(target).writerows(line[:-1] for line in csv.reader(source))  # without the diagnosis

    config = tmp_path / "forebay.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{embedded_broker.bootstrap}"\ngroup_id = "{names("group")}"\n'
        f'[model]\nrepository = "{tmp_path / "models"}"\nname = "tumours"\n[topics]\nprefix = "{names("")}"\n'
        '[log]\nformat = "text"\n'
    )
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap), topics=TopicsSection(prefix=names(""))
    )
    await create_topics(settings)
    worker = WorkerProcess(config, tmp_path / "log", environ=os.environ, clock=SystemClock(), die_with_parent=True)
    expected = offline_scores(tmp_path / "models", events)
    worker.start()
    try:
        await worker.wait_ready()
        await asyncio.to_thread(forebay, tmp_path, "publish", str(events), "--config", str(config))

        async def predicted() -> dict[str, float]:
            records = await read_committed(embedded_broker.bootstrap, names("predictions"), 4)
            found = [orjson.loads(record.value) for record in records]
            return {one["id"]: one["prediction"][0] for one in found}

        served = await eventually(
            predicted, f"{len(expected)} predictions", until=lambda seen: len(seen) >= len(expected), timeout_s=60
        )
    finally:
        await worker.stop()
    assert served.keys() == expected.keys()
    np.testing.assert_allclose([served[name] for name in expected], list(expected.values()), atol=1e-6)
