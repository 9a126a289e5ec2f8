"""The examples of `forebay.register` end to end: train, register, serve, and compare with the library's own predictions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import producer, read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.examples.test_examples import EXAMPLES

SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("register_*.py"))

# Runs the scripts as modules, because a class that is defined in `__main__` has no file in `python -c`.
_REGISTER_ALL = """
import importlib, json, pathlib, sys
sys.path.insert(0, sys.argv[1])
done = {}
for name in sys.argv[4:]:
    rows, expected = importlib.import_module(name).main(pathlib.Path(sys.argv[2]))
    done[name] = {"rows": json.loads(rows.to_json(orient="records", double_precision=15)), "expected": expected.tolist()}
pathlib.Path(sys.argv[3]).write_text(json.dumps(done))
"""


def register_all(folder: Path) -> dict[str, Any]:
    """Run the examples in one process; return the events and the library's predictions of each, by the model's name."""
    script = [sys.executable, "-c", _REGISTER_ALL, str(EXAMPLES), str(folder / "models"), str(folder / "done.json")]
    done = subprocess.run([*script, *SCRIPTS], cwd=folder, capture_output=True, text=True, timeout=150, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    published = [line.split("/")[-2] for line in done.stdout.splitlines() if line.startswith("published ")]
    return dict(zip(published, json.loads((folder / "done.json").read_text()).values(), strict=True))


@pytest.mark.long
async def test_each_registered_model_serves_what_its_library_predicts(
    embedded_broker: Broker, names: Names, tmp_path: Path
) -> None:
    models = await asyncio.to_thread(register_all, tmp_path)
    assert len(models) == len(SCRIPTS)
    config = tmp_path / "forebay.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{embedded_broker.bootstrap}"\ngroup_id = "{names("group")}"\n'
        f'[model]\nrepository = "{tmp_path / "models"}"\n[topics]\nprefix = "{names("")}"\n[log]\nformat = "text"\n'
        + f'[trust]\nrepositories = ["{tmp_path / "models"}"]\n'
        + "".join(f'[[models]]\nname = "{name}"\n' for name in models)
    )
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap), topics=TopicsSection(prefix=names(""))
    )
    await create_topics(settings)
    worker = WorkerProcess(config, tmp_path / "log", environ=os.environ, clock=SystemClock(), die_with_parent=True)
    worker.start()
    try:
        await worker.wait_ready()
        events = [
            orjson.dumps({"id": f"{name} {number}", "model": name, "timestamp": 0, "features": row})
            for name, model in models.items()
            for number, row in enumerate(model["rows"])
        ]
        async with producer(embedded_broker.bootstrap) as client:
            await asyncio.gather(*[await client.send(names("features"), event) for event in events])

        async def outcomes() -> list[Any]:
            predictions = await read_committed(embedded_broker.bootstrap, names("predictions"), 4)
            rejected = await read_committed(embedded_broker.bootstrap, names("dead-letters"), 1)
            assert [record.headers for record in rejected] == []
            return [orjson.loads(record.value) for record in predictions]

        found = await eventually(
            outcomes,
            f"{len(events)} predictions",
            until=lambda seen: len(seen) >= len(events),
            timeout_s=60,
            context=(tmp_path / "log").read_text,
        )
    finally:
        await worker.stop()
    by_model: dict[str, dict[int, Any]] = defaultdict(dict)
    for record in found:
        name, _, number = record["id"].partition(" ")
        by_model[name][int(number)] = record["prediction"]
    assert len(found) == len(events)
    for name, model in models.items():
        expected = np.array(model["expected"]).reshape(len(model["rows"]), -1)
        served = np.array([by_model[name][number] for number in range(len(expected))])
        np.testing.assert_allclose(served, expected, rtol=1e-4, atol=1e-5, err_msg=name)
