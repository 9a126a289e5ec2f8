"""What every start of a Kafka on this machine needs, made once: an archive of its classes and a formatted storage.

With the archive, the JVM does not load, verify and link Kafka's classes again (JEP 350: Dynamic CDS Archives).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from tests.brokers.apache import ARCHIVE, FORMATTED, ApacheKafka


def prepare(cache: Path, jars: Path, *, java: Path, java_version: str) -> Path | None:
    """Return the folder to start brokers from. It is made the first time by a broker that starts and stops.

    None if this Java writes no archive: brokers start without it, and more slowly.
    """
    folder = cache / f"{jars.name}-java-{java_version}"
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            _make(folder, jars, java)
    return folder if (folder / ARCHIVE).is_file() else None


def _make(folder: Path, jars: Path, java: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="preparing-") as name:
        making = Path(name) / "prepared"
        making.mkdir()
        options = [f"-XX:ArchiveClassesAtExit={making / ARCHIVE}"]
        broker = ApacheKafka(jars, Path(name) / "broker", java=java, options=options)
        try:
            broker.start()
            broker.stop()  # the archive is written at the end of the process
        finally:
            broker.remove()
        for file in FORMATTED:
            shutil.copy(broker.data[0] / file, making)
        # Renamed as a whole, so that an existing folder is complete.
        os.rename(making, folder)
