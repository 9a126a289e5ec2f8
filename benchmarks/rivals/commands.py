"""The command line of each contestant."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.contestants import job as shared
from benchmarks.contestants.catalogue import Contestant, Runtime
from benchmarks.contestants.job import Job

JVM_OPTIONS: Final = (
    # The serial collector needs the least CPU time for so small a heap, and no threads of its own.
    "-XX:+UseSerialGC",
    "-Xms192m",
    "-Xmx192m",
    "-XX:TieredStopAtLevel=4",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


def command_of(contestant: Contestant, job: Job, builds: Mapping[Runtime, Path]) -> list[str]:
    """Return the command that runs the contestant in a process of its own.

    builds: the folder of each runtime but Python.
    """
    if contestant.runtime == "python":
        return [sys.executable, "-m", contestant.module, job.to_argument()]
    folder = builds[contestant.runtime]
    if contestant.runtime == "rust":
        return [str(folder / contestant.module), external_argument(job)]
    if contestant.runtime == "quix":
        return [str(folder / "bin" / "python"), "-m", contestant.module, job.to_argument()]
    classes = os.pathsep.join((str(folder / "rivals.jar"), str(folder / "lib" / "*")))
    return [_java(os.environ), *JVM_OPTIONS, "-cp", classes, contestant.module, external_argument(job)]


def external_argument(job: Job) -> str:
    """Return the job and the settings that all contestants share, as one flat JSON object."""
    settings = {
        "poll_records": shared.POLL_RECORDS,
        "commit_interval_ms": round(1000 * shared.PIPELINED_COMMIT_S),
        "commit_records": shared.PIPELINED_COMMIT_RECORDS,
        "max_batch_bytes": shared.MAX_BATCH_BYTES,
        "fetch_max_wait_ms": shared.FETCH_MAX_WAIT_MS,
        "fetch_min_bytes": shared.FETCH_MIN_BYTES,
        "fetch_max_bytes": shared.FETCH_MAX_BYTES,
        "max_partition_fetch_bytes": shared.MAX_PARTITION_FETCH_BYTES,
    }
    return json.dumps(asdict(job) | settings)


def _java(environ: Mapping[str, str]) -> str:
    home = environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"
