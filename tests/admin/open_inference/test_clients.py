"""Clients of other servers against a worker: tritonclient, KServe's and MLServer's, each in an environment of its own.

Each script prints the outputs for the same two rows, and they must be those of `/predict`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
import venv
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.ports import free_ports
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.packaging.image import ROOT

ROWS = [["cellar", 12.5, 61.0], ["kitchen", 24.0, None]]


class Client(NamedTuple):
    """A foreign client. script: prints a JSON object with the outputs `label` and `prediction`."""

    packages: tuple[str, ...]
    script: str


TRITON = """
import json, sys
import numpy as np
import tritonclient.http as client
at = client.InferenceServerClient(sys.argv[1])
assert at.is_server_live() and at.is_server_ready() and at.is_model_ready("damp") and at.is_model_ready("damp", "1")
assert at.get_server_metadata()["name"] == "forebay"
metadata = at.get_model_metadata("damp")
assert [entry["datatype"] for entry in metadata["inputs"]] == ["BYTES", "FP32", "FP32"], metadata
columns = {
    "sensor": np.array([[b"cellar"], [b"kitchen"]], dtype=object),
    "temperature": np.array([[12.5], [24.0]], dtype=np.float32),
    "humidity": np.array([[61.0], [np.nan]], dtype=np.float32),
}
answers = []
for binary in (True, False):
    inputs = []
    for entry in metadata["inputs"]:
        values = columns[entry["name"]]
        one = client.InferInput(entry["name"], values.shape, entry["datatype"])
        if not binary and entry["name"] == "humidity":
            continue  # JSON has no NaN, and humidity may be missing
        one.set_data_from_numpy(values, binary_data=binary)
        inputs.append(one)
    outputs = [client.InferRequestedOutput(name, binary_data=binary) for name in ("label", "prediction")]
    for options in ({}, {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}):
        answer = at.infer("damp", inputs, outputs=outputs, request_id="r", **options)
        assert answer.get_response()["id"] == "r"
        answers.append(answer)
try:
    at.infer("dump", inputs)
except client.InferenceServerException as error:
    assert "'dump' is not served" in str(error), error
else:
    raise AssertionError("no error for an unknown model")
texts = [text.decode() if isinstance(text, bytes) else text for text in answers[0].as_numpy("label").tolist()]
print(json.dumps({"label": texts, "prediction": answers[0].as_numpy("prediction").ravel().tolist()}))
"""
KSERVE = """
import asyncio, json, sys
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
async def main():
    at = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    url = f"http://{sys.argv[1]}"
    assert await at.is_server_live(url) and await at.is_server_ready(url) and await at.is_model_ready(url, "damp")
    inputs = [
        InferInput("sensor", [2, 1], "BYTES", ["cellar", "kitchen"]),
        InferInput("temperature", [2, 1], "FP32", [12.5, 24.0]),
        InferInput("humidity", [2, 1], "FP32", [61.0, None]),
    ]
    answer = await at.infer(url, InferRequest("damp", inputs), model_name="damp")
    found = {output.name: list(output.data) for output in answer.outputs}
    print(json.dumps({"label": found["label"], "prediction": found["prediction"]}))
asyncio.run(main())
"""
MLSERVER = """
import json, sys, urllib.request
import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput
inputs = [
    StringCodec.encode_input("sensor", ["cellar", "kitchen"], use_bytes=False),
    NumpyCodec.encode_input("temperature", np.array([[12.5], [24.0]])),
    RequestInput(name="humidity", shape=[2, 1], datatype="FP32", data=[61.0, None]),
]
request = InferenceRequest(inputs=inputs)
body = request.model_dump_json(exclude_none=False).encode()
url = f"http://{sys.argv[1]}/v2/models/damp/infer"
with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
    response = InferenceResponse.model_validate_json(answer.read())
found = {output.name: output for output in response.outputs}
print(json.dumps({"label": StringCodec.decode_output(found["label"]), "prediction": list(found["prediction"].data)}))
"""
CLIENTS = {
    "tritonclient": Client(("tritonclient[http]",), TRITON),
    "kserve": Client(("kserve",), KSERVE),
    "mlserver": Client(("mlserver",), MLSERVER),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model of examples/train_model.py."""
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, str(ROOT / "examples" / "train_model.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest_asyncio.fixture
async def address(embedded_broker: Broker, names: Names, repository: Path, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a worker that serves the model."""
    (port,) = free_ports(1)
    config = tmp_path / "forebay.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{embedded_broker.bootstrap}"\ngroup_id = "{names("group")}"\n'
        f'[model]\nrepository = "{repository}"\nname = "damp"\n[topics]\nprefix = "{names("")}"\n'
        f'[admin]\nport = {port}\nport_retries = 0\n[log]\nformat = "text"\n'
    )
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap), topics=TopicsSection(prefix=names(""))
    )
    await create_topics(settings)
    worker = WorkerProcess(config, tmp_path / "log", environ=os.environ, clock=SystemClock(), die_with_parent=True)
    worker.start()
    try:
        await worker.wait_ready()
        yield f"127.0.0.1:{port}"
    finally:
        await worker.stop()


def predicted(address: str) -> Any:
    """Return what `/predict` answers for the same rows."""
    body = json.dumps([{"input": row} for row in ROWS]).encode()
    with urllib.request.urlopen(f"http://{address}/predict", body, timeout=30) as answer:
        documents = json.load(answer)
    return {
        "label": [document["label"] for document in documents],
        "prediction": [document["prediction"][0] for document in documents],
    }


@pytest.mark.long
@pytest.mark.embedded
@pytest.mark.timeout(900)
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_a_foreign_client_gets_the_predictions_of_a_worker(client: Client, address: str, tmp_path: Path) -> None:
    environment = tmp_path / "client"
    await asyncio.to_thread(venv.create, environment, with_pip=False)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *client.packages]
    done = await asyncio.to_thread(subprocess.run, install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = await asyncio.to_thread(
        subprocess.run, [python, "-c", client.script, address], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = await asyncio.to_thread(predicted, address)
    assert found["label"] == expected["label"]
    assert found["prediction"] == pytest.approx(expected["prediction"], abs=1e-7)
