"""A worker that serves only an ONNX graph predicts events and never imports torch."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from aiokafka import TopicPartition

from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.publish import publish_candidate
from forebay.stream.config.load import load_settings
from forebay.stream.core.log_lines import READY_LINE
from forebay.stream.embedded import EmbeddedBroker
from forebay.stream.embedded.process import tied_to_parent
from forebay.stream.embedded.worker_process import without_settings
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import consumer, producer, read, send_batch
from tests.eventually import eventually
from tests.models.backends.onnx.graphs import WEIGHTS, make_model
from tests.models.build import CREATED_AT

NUM_EVENTS = 200
FOREIGN = {"onnx", "onnxscript", "scipy", "sklearn", "torch"}
SCRIPT = """
import atexit, json, pathlib, sys
atexit.register(lambda: pathlib.Path(sys.argv[3]).write_text(json.dumps(sorted(sys.modules))))
from forebay.stream.cli import main
sys.exit(main(["run", *sys.argv[1:3]]))
"""

pytestmark = pytest.mark.embedded


def publish_graph(repository: Path) -> None:
    candidate = Candidate(
        "onnx",
        {"model.onnx": make_model().SerializeToString()},
        Signature((), (3,), "multiclass", 2),
        Preprocessing.identity(),
    )
    publish_candidate(candidate, repository=repository, name="graph", provenance=Provenance(CREATED_AT, {}))


def start_worker(config: Path, log: Path, modules: Path) -> subprocess.Popen[bytes]:
    """Start a worker that writes the names of all imported modules to a file when it ends."""
    command = [sys.executable, "-c", SCRIPT, "-c", str(config), str(modules)]
    with log.open("wb") as output:
        return subprocess.Popen(
            tied_to_parent(command, os.getpid()), stdout=output, stderr=output, env=without_settings(os.environ)
        )


async def test_a_worker_that_serves_an_onnx_graph_does_not_import_torch(tmp_path: Path) -> None:
    publish_graph(tmp_path / "models")
    x_BF = np.random.default_rng(0).standard_normal((NUM_EVENTS, 3)).astype(np.float32)
    events = [
        orjson.dumps({"id": str(index), "timestamp": 1, "features": row.tolist()}) for index, row in enumerate(x_BF)
    ]
    async with EmbeddedBroker() as broker:
        config, log, modules = tmp_path / "forebay.toml", tmp_path / "log", tmp_path / "modules.json"
        config.write_text(
            f'[kafka]\nbootstrap_servers = "{broker.bootstrap_servers}"\n'
            f'[model]\nname = "graph"\nrepository = "{tmp_path / "models"}"\n'
            '[admin]\nport = 0\n[topics]\nprefix = "t-"\npartitions = 1\n'
        )
        await create_topics(load_settings(config, {}).settings)
        async with producer(broker.bootstrap_servers) as client:
            await send_batch(client, TopicPartition("t-features", 0), events)
        worker = start_worker(config, log, modules)
        try:
            async with consumer(broker.bootstrap_servers, "t-predictions") as client:
                records = await read(client, NUM_EVENTS)
            await eventually(lambda: READY_LINE in log.read_text(), "a ready worker", context=log.read_text)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, 60) == 0, log.read_text()
        finally:
            worker.kill()
    predictions = [orjson.loads(record.value) for record in records]
    assert [prediction["id"] for prediction in predictions] == [str(index) for index in range(NUM_EVENTS)]
    expected_B = (x_BF @ WEIGHTS).argmax(axis=1)
    assert [prediction["class"] for prediction in predictions] == expected_B.tolist()
    imported = {name.partition(".")[0] for name in json.loads(modules.read_text())}
    assert "onnxruntime" in imported
    assert imported & FOREIGN == set()
