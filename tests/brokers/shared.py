"""One real Kafka for all processes of a test run. The main process starts it while the others collect their tests.

Each Kafka takes processor time even if nothing uses it, and most at its start.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.brokers.jars import Unavailable
from tests.brokers.resolve import RealKafka, Source, resolve_own
from tests.eventually import eventually_sync

VARIABLE: Final = "FOREBAY_TEST_SHARED_KAFKA"
"""The file in which the main process writes the address, an environment variable of the other processes."""
_STARTED_WITHIN_S: Final = 600.0
"""The limit of the start, with the download of Kafka to a new machine."""


class SharedKafka:
    """The Kafka as the main process sees it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forebay-kafka-")
        self._file = Path(self._folder.name) / "kafka.json"
        self._server: RealKafka | None = None
        os.environ[VARIABLE] = str(self._file)

    def start(self, environ: Mapping[str, str]) -> None:
        """Start it and write its address, or why there is none."""
        try:
            source = resolve_own(environ)
            assert source.make is not None
            self._server = source.make(Path(self._folder.name) / "nodes", {})
            self._server.start()
            answer = {"named": self._server.bootstrap, "description": f"{source.description}, shared by all processes"}
        except (Unavailable, RuntimeError, AssertionError) as error:
            answer = {"unavailable": str(error)}
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(answer))
        written.rename(self._file)

    def remove(self) -> None:
        if self._server is not None:
            self._server.remove()
        self._folder.cleanup()


def resolve_shared(file: Path) -> Source:
    """Wait for the main process and return its Kafka. Raises Unavailable."""
    eventually_sync(file.exists, "the Kafka of the main process", timeout_s=_STARTED_WITHIN_S)
    answer = json.loads(file.read_text())
    if "unavailable" in answer:
        raise Unavailable(answer["unavailable"])
    return Source(answer["description"], named=answer["named"])
