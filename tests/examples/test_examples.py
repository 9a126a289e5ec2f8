"""The examples together, as a reader would run them: train a model, publish, serve, subscribe."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.clock import SystemClock
from stream.config.sections import KafkaSection, Settings, TopicsSection
from stream.kafka.topics import create_topics
from stream.worker_process import WorkerProcess
from tests.brokers.resolve import Broker
from tests.conftest import Names

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str, *arguments: str, code: int = 0) -> str:
    """Run an example as its docstring says; gives what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=120, env=os.environ
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
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
        # The prefix is this test's own; the script has none on its command line.
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


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_each_says_how_it_is_run_and_what_it_wants(path: Path) -> None:
    assert f"python examples/{path.name} " in path.read_text().split('"""')[1]
    assert f"usage: python examples/{path.name}" in example(path.name, code=1)
